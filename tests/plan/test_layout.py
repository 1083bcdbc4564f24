"""Layouts and orders against brute force."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from tests.plan.networks import random_network
from toolchain.ir import Graph, Node
from toolchain.kernels import Isa
from toolchain.plan import plan_layers
from toolchain.plan.effort import FAST, NORMAL
from toolchain.plan.layers import plan_order
from toolchain.plan.layout import Block, Problem, solve
from toolchain.plan.lifetimes import prepare


def random_problem(rng: np.random.Generator, count: int) -> Problem:
    blocks = []
    for _ in range(count):
        first = int(rng.integers(0, 5))
        blocks.append(Block(int(rng.integers(1, 6)), first, first + int(rng.integers(0, 3))))
    overlaps = {}
    for upper, lower in itertools.permutations(range(count), 2):
        if blocks[upper].last == blocks[lower].first and rng.random() < 0.5:
            least = int(rng.choice([0, 1 - blocks[upper].size]))
            overlaps[upper, lower] = int(rng.integers(least, blocks[lower].size))
    return Problem(tuple(blocks), overlaps)


def legal(problem: Problem, offsets: tuple[int, ...]) -> bool:
    for i, j in itertools.combinations(range(len(offsets)), 2):
        a, b = problem.blocks[i], problem.blocks[j]
        if a.first > b.last or b.first > a.last:
            continue
        above = offsets[i] >= offsets[j] + problem.overlaps.get((i, j), b.size)
        below = offsets[j] >= offsets[i] + problem.overlaps.get((j, i), a.size)
        if not (above or below):
            return False
    return True


def best_extent(problem: Problem) -> int:
    for extent in itertools.count(max(block.size for block in problem.blocks)):
        ranges = [range(extent - block.size + 1) for block in problem.blocks]
        if any(legal(problem, offsets) for offsets in itertools.product(*ranges)):
            return extent
    raise AssertionError


def test_small_layouts_are_optimal() -> None:
    for seed in range(300):
        problem = random_problem(np.random.default_rng(seed), 4)
        layout = solve(problem)
        assert legal(problem, layout.offsets)
        assert layout.extent == layout.bound == best_extent(problem), f"seed {seed}"


def test_large_layouts_are_legal_and_not_below_their_bound() -> None:
    for seed in range(20):
        problem = random_problem(np.random.default_rng(seed), 30)
        layout = solve(problem)
        assert legal(problem, layout.offsets)
        assert problem.lower_bound() <= layout.bound <= layout.extent
        extents = [o + b.size for o, b in zip(layout.offsets, problem.blocks, strict=True)]
        assert layout.extent == max(extents)


def test_more_effort_finds_smaller_layouts() -> None:
    gained = 0
    for seed in range(6):
        problem = random_problem(np.random.default_rng(seed), 30)
        extents = [solve(problem, effort).extent for effort in (FAST, NORMAL)]
        assert extents == sorted(extents, reverse=True)
        gained += extents[0] > extents[1]
    assert gained > 1


def test_equal_problems_have_equal_layouts() -> None:
    problem = random_problem(np.random.default_rng(5), 40)
    assert solve(problem) == solve(Problem(problem.blocks, dict(problem.overlaps)))


def orders(graph: Graph) -> Iterator[list[Node]]:
    """Yield every topological order."""

    def extend(done: list[Node], made: set[str]) -> Iterator[list[Node]]:
        if len(done) == len(graph.nodes):
            yield done
        for node in graph.nodes:
            if node not in done and all(name in made for name in node.inputs):
                yield from extend([*done, node], {*made, *node.outputs})

    yield from extend([], {*graph.inputs, *(n for n, t in graph.tensors.items() if t.is_constant)})


def test_no_order_is_leaner_than_the_planned_one() -> None:
    improved = 0
    for seed in range(60):
        graph = random_network(np.random.default_rng(seed))
        plan, work = plan_layers(graph), prepare(graph, Isa.PORTABLE)
        extents = [plan_order(graph, Isa.PORTABLE, work, o).arena_bytes for o in orders(graph)]
        assert plan.arena_bytes == min(extents), f"seed {seed}"
        improved += plan.arena_bytes < extents[0]
    assert improved


def star(rng: np.random.Generator) -> Problem:
    """Return blocks alive together, one of which may run over every other."""
    blocks = tuple(Block(int(size), 0, 1) for size in rng.integers(1, 5, 4))
    overlaps = {}
    for other in range(1, 4):
        distance = int(rng.integers(1 - blocks[0].size, blocks[other].size))
        overlaps[0, other] = distance
    return Problem(blocks, overlaps)


def test_the_bound_knows_that_a_block_runs_over_few_others_at_once() -> None:
    for seed in range(200):
        problem = star(np.random.default_rng(seed))
        assert problem.lower_bound() == best_extent(problem), f"seed {seed}"
