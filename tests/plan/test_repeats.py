"""Nodes executed again: maps that are made twice instead of kept give the interpreter's bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from codegen.emit import emit
from runtimes.host.library import HostModel, compile_host
from runtimes.host.shadow import ShadowModel
from tests.ops.harness import random_values
from tests.plan.networks import random_map_network, random_mobile_network
from tests.plan.test_stream import random_cuts
from toolchain.errors import FitError
from toolchain.ir import Array, Graph, run
from toolchain.kernels import Isa
from toolchain.plan import (
    Plan,
    Repeat,
    check_plan,
    pareto,
    plan_from_json,
    plan_model,
    plan_to_json,
    repeated,
)
from toolchain.plan.gates import gate_repeats
from toolchain.plan.rows import row_work


def gates_of(graph: Graph) -> tuple[Repeat, ...]:
    rows = [row_work(graph, node, Isa.PORTABLE) for node in graph.nodes]
    return gate_repeats(graph, graph.nodes, rows)


def random_repeats(graph: Graph, rng: np.random.Generator) -> tuple[Repeat, ...]:
    """Return up to three repeats of a node, and maybe those before it, for some of its readers."""
    found: tuple[Repeat, ...] = ()
    for _ in range(int(rng.integers(1, 4))):
        now = repeated(graph, found)
        node = now.nodes[int(rng.integers(len(now.nodes)))]
        readers = [reader.name for reader in now.consumers[node.outputs[0]]]
        chain = [node]
        while rng.random() < 0.6 and (made := now.producers.get(str(chain[0].inputs[0]))):
            chain.insert(0, made)
        late = tuple(name for name in readers if rng.random() < 0.7)
        repeat = Repeat(tuple(n.name for n in chain), late)
        try:
            repeated(graph, (*found, repeat))
        except FitError:
            continue
        found = (*found, repeat)
    return found


def case(seed: int) -> tuple[Graph, Plan]:
    """Return a network in a random plan; most are gated and repeat what some gates wait for."""
    rng = np.random.default_rng(seed)
    if rng.random() < 0.6:
        graph = random_mobile_network(rng, gates=True)
        repeats = tuple(gate for gate in gates_of(graph) if rng.random() < 0.9)
    else:
        graph = random_map_network(rng)
        repeats = random_repeats(graph, rng)
    return graph, check_plan(graph, random_cuts(graph, rng, repeats))


def inputs_of(graph: Graph) -> list[Array]:
    return [random_values(t, np.random.default_rng(1)) for t in graph.input_tensors]


def assert_equal_the_interpreter(cases: Sequence[tuple[Graph, Plan]], folder: Path) -> None:
    files: dict[str, str] = {}
    for index, (graph, plan) in enumerate(cases):
        assert plan_from_json(plan_to_json(plan)) == plan
        files |= emit(graph, plan, f"case{index}")
    library = compile_host(files, folder)
    for index, (graph, _) in enumerate(cases):
        model = HostModel(library, f"case{index}", graph.input_tensors, graph.output_tensors)
        inputs = inputs_of(graph)
        for _ in range(2):
            for expected, got in zip(run(graph, inputs), model.run(inputs), strict=True):
                np.testing.assert_array_equal(got, expected, err_msg=f"case {index}")


def test_random_repeats_equal_the_interpreter(tmp_path: Path) -> None:
    cases = [case(seed) for seed in range(20)]
    assert sum(bool(plan.repeats) for _, plan in cases) > 8
    assert sum(len(plan.repeats) > 1 for _, plan in cases) > 3
    assert_equal_the_interpreter(cases, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(2))
def test_many_random_repeats_equal_the_interpreter(block: int, tmp_path: Path) -> None:
    seeds = range(1000 + 40 * block, 1040 + 40 * block)
    assert_equal_the_interpreter([case(seed) for seed in seeds], tmp_path)


@pytest.mark.parametrize("seed", range(3))
def test_second_passes_run_clean_on_the_shadow(seed: int, tmp_path: Path) -> None:
    graph, plan = next(
        found for i in range(50) if len((found := case(100 * seed + i))[1].repeats) > 1
    )
    model = ShadowModel(graph, plan, emit(graph, plan), tmp_path)
    inputs = inputs_of(graph)
    for expected, got in zip(run(graph, inputs), model.run(inputs), strict=True):
        np.testing.assert_array_equal(got, expected)


def gated(seed: int) -> Graph:
    return random_mobile_network(np.random.default_rng(seed), gates=True)


def test_fronts_of_gated_networks_repeat_what_pays_and_equal_the_interpreter(
    tmp_path: Path,
) -> None:
    cases = []
    for seed in (0, 3):
        graph = gated(seed)
        front = [check_plan(graph, plan) for plan in pareto(graph, fed=seed % 2 == 0)]
        arenas = [plan.arena_bytes for plan in front]
        assert arenas == sorted(set(arenas))
        assert all(plan.recomputed_macs for plan in front if plan.repeats)
        cases += [(graph, plan) for plan in front if plan.repeats]
    assert len(cases) > 4
    assert_equal_the_interpreter(cases, tmp_path)


def test_a_limit_of_work_holds_with_second_passes() -> None:
    graph = gated(0)
    plan = plan_model(graph, max_macs=1.5)
    assert plan.repeats
    assert plan.macs <= 1.5 * graph.macs
    assert plan.macs - plan.recomputed_macs == graph.macs
    assert plan.arena_bytes < plan_model(graph).arena_bytes
    assert plan_model(graph, max_ram=plan.arena_bytes).macs <= plan.macs


def test_second_passes_share_weights_and_kernels() -> None:
    graph = gated(0)
    plan = plan_model(graph, max_macs=1.5)
    assert plan.repeats
    once = replace(plan_model(graph), graph_hash=plan.graph_hash)
    ours, theirs = emit(graph, plan), emit(graph, once)
    sizes = [files["src/model_weights.c"].count(",") for files in (ours, theirs)]
    assert sizes[0] <= sizes[1]


def test_gates_are_found_by_structure() -> None:
    """Every map that is scaled by its mean is made again from what it was expanded from."""
    for seed in range(10):
        graph = gated(seed)
        by_reader = {repeat.readers: repeat.nodes for repeat in gates_of(graph)}
        for node in (node for node in graph.nodes if node.op.name == "mul"):
            depthwise = graph.producers[str(node.inputs[0])]
            expand = graph.producers[str(depthwise.inputs[0])]
            source, scaled = (graph.tensors[str(n.inputs[0])] for n in (expand, node))
            if source.nbytes < scaled.nbytes:
                assert by_reader.pop((node.name,)) == (expand.name, depthwise.name)
        assert not by_reader


def test_wrong_repeats_in_a_plan_are_refused() -> None:
    graph = gated(0)
    plan = plan_model(graph, max_macs=1.5)
    first, *rest = plan.repeats
    expand, depthwise = first.nodes
    other = next(n.name for n in graph.nodes if n.name not in (*first.nodes, *first.readers))
    for repeat, said in (
        (replace(first, nodes=("nothing",)), 'there is no node "nothing"'),
        (replace(first, readers=("nothing",)), 'there is no node "nothing"'),
        (replace(first, nodes=(), readers=first.readers), "repeats nothing"),
        (replace(first, nodes=(expand, expand)), "names a node twice"),
        (replace(first, nodes=(expand,)), f'nobody reads what "{expand}" makes again'),
        (replace(first, nodes=(depthwise,)), "no such node, or it is executed twice"),
        (replace(first, readers=(other,)), "nobody reads"),
        (replace(first, readers=(*first.readers, other)), f'"{other}" reads nothing'),
    ):
        with pytest.raises(FitError, match=said) as caught:
            check_plan(graph, replace(plan, repeats=(repeat, *rest)))
        assert caught.value.code == "E303"
    with pytest.raises(FitError, match="executed twice"):
        check_plan(graph, replace(plan, repeats=()))
