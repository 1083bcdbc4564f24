"""Quicken: faster kernels take the room there is, and no more than they are worth."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from boards import load_board
from codegen.emit import emit
from nas.draft import Draft
from runtimes.host.library import HostModel, compile_host
from tests.ops.harness import random_values
from toolchain.ir import Graph, run
from toolchain.kernels import Isa
from toolchain.numerics import Activation
from toolchain.plan import StreamStage, check_plan, plan_layers, plan_model
from toolchain.plan.plan import ARENA, Slot
from toolchain.plan.quicken import Faster, ladder, most_saved, quicken
from toolchain.plan.search import Search

STEPS = 5


def random_slots(rng: np.random.Generator) -> list[Slot]:
    """Return slots of which some overlap, as a dying input and the output over it do."""
    slots = []
    for number in range(int(rng.integers(1, 12))):
        first, last = sorted(int(s) for s in rng.integers(0, STEPS, 2))
        offset, size = 4 * int(rng.integers(0, 40)), int(rng.integers(1, 80))
        slots.append(Slot(f"s{number}", (f"s{number}",), ARENA, offset, size, first, last))
    return slots


def random_ladders(rng: np.random.Generator) -> dict[int, tuple[Faster, ...]]:
    found = {}
    for step in range(STEPS):
        kernels = [
            Faster(f"k{i}", 4 * int(rng.integers(0, 60)), int(rng.integers(-50, 900)))
            for i in range(4)
        ]
        found[step] = ladder(kernels)
    return {step: kernels for step, kernels in found.items() if kernels}


def test_a_ladder_falls_in_memory_and_in_what_it_saves() -> None:
    for seed in range(200):
        for kernels in random_ladders(np.random.default_rng(seed)).values():
            pairs = list(itertools.pairwise(kernels))
            assert all(a.saves >= b.saves and a.scratch > b.scratch for a, b in pairs)
            assert all(kernel.saves > 0 for kernel in kernels)


def test_scratch_memory_meets_nothing_alive_and_the_arena_grows_for_speed_alone() -> None:
    grown = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        slots, faster = random_slots(rng), random_ladders(rng)
        names = {step: f"n{step}.scratch" for step in faster}
        end, missed = max(slot.end for slot in slots), []
        for most in (None, 1500.0, 500.0, 0.0):
            taken = quicken(slots, names, faster, end, most)
            made = [slot for slot in taken.slots if not slot.tensors]
            for scratch in made:
                alive = (s for s in slots if s.first <= scratch.first <= s.last)
                assert all(s.end <= scratch.offset or scratch.end <= s.offset for s in alive)
            last = max(slot.end for slot in (*slots, *made))
            saved = sum(kernel.saves for kernel in taken.kernels.values())
            missed.append(most_saved(faster) - saved)
            assert most is not None or last == end
            assert most is None or missed[-1] <= most
            grown += last > end
        assert missed == sorted(missed, reverse=True)
    assert grown > 100


def windows() -> Graph:
    """Return a network of convolutions whose windows are larger than its rows."""
    draft = Draft("windows")
    x = draft.input(1, 16, 16, 3)
    for channels, stride in ((16, 1), (16, 1), (32, 2), (32, 1)):
        x = draft.conv(x, channels, 3, stride, Activation.RELU)
    return draft.graph(x)


@pytest.mark.parametrize("fed", [False, True])
def test_convolutions_in_parts_save_memory_for_little_work(fed: bool, tmp_path: Path) -> None:
    graph, board = windows(), load_board("emulator_m4_16m")
    plan = check_plan(graph, plan_model(graph, board, fed=fed))
    kernels = [k for s in plan.stages if isinstance(s, StreamStage) for k in s.kernels]
    assert any(kernel.startswith("conv2d_parts") for kernel in kernels)
    quick, least = Search(graph, Isa.DSP, fed=fed).once()[0], plan_layers(graph, Isa.DSP)
    assert plan.arena_bytes < quick.arena_bytes
    assert plan.instructions <= 1.08 * least.instructions
    library = compile_host(emit(graph, plan, "windows"), tmp_path)
    model = HostModel(library, "windows", graph.input_tensors, graph.output_tensors)
    inputs = [random_values(t, np.random.default_rng(0)) for t in graph.input_tensors]
    for expected, got in zip(run(graph, inputs), model.run(inputs), strict=True):
        np.testing.assert_array_equal(got, expected)
