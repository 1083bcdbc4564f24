"""Layer plans: compiled C equals the interpreter, and the checker knows right from wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from codegen.emit import emit
from runtimes.host.library import HostModel, compile_host
from tests.ops.harness import assert_c_equals_reference, random_values
from tests.plan.networks import Builder, random_network
from toolchain.errors import FitError
from toolchain.ir import Graph, run
from toolchain.kernels import Isa
from toolchain.ops import Conv2D, DepthwiseConv2D, Relu
from toolchain.ops.spatial import Pads
from toolchain.plan import Plan, check_plan, plan_layers


def test_c_of_overlapping_plans_equals_the_interpreter(tmp_path: Path) -> None:
    assert_c_equals_reference(random_network, tmp_path, cases=60)


def test_plans_pass_the_checker_and_are_never_below_their_bound() -> None:
    proven = 0
    for seed in range(200):
        graph = random_network(np.random.default_rng(seed))
        plan = check_plan(graph, plan_layers(graph))
        assert plan.lower_bound_bytes <= plan.arena_bytes
        proven += plan.proven
    assert proven == 200


def shuffled(plan: Plan, rng: np.random.Generator) -> Plan:
    """Return ``plan`` with one or two slots moved, in a slightly larger arena."""
    slots = list(plan.slots)
    arena = plan.arena_bytes + int(rng.integers(0, 64))
    for i in rng.choice(len(slots), min(2, len(slots)), replace=False):
        slots[i] = replace(slots[i], offset=int(rng.integers(0, arena - slots[i].size + 1)))
    return replace(plan, slots=tuple(slots), arena_bytes=arena)


def accepted(graph: Graph, plan: Plan) -> bool:
    try:
        check_plan(graph, plan)
    except FitError:
        return False
    return True


def test_what_the_checker_accepts_is_right_and_what_is_wrong_it_refuses(tmp_path: Path) -> None:
    """C is the judge: plans with slots moved at random are compiled whatever the checker says."""
    cases, files = [], {}
    for seed in range(60):
        rng = np.random.default_rng(seed)
        graph = random_network(rng)
        plan = shuffled(plan_layers(graph), rng)
        cases.append((graph, plan))
        files |= emit(graph, plan, f"case{seed}")
    library = compile_host(files, tmp_path)
    passed = wrong = 0
    for seed, (graph, plan) in enumerate(cases):
        model = HostModel(library, f"case{seed}", graph.input_tensors, graph.output_tensors)
        inputs = [random_values(t, np.random.default_rng(seed)) for t in graph.input_tensors]
        pairs = zip(run(graph, inputs), model.run(inputs), strict=True)
        equal = all(np.array_equal(expected, got) for expected, got in pairs)
        ok = accepted(graph, plan)
        assert equal or not ok, f"seed {seed}: accepted, but C differs"
        passed, wrong = passed + ok, wrong + (not equal)
    assert passed > 5
    assert wrong > 5


def chain() -> Graph:
    build = Builder(np.random.default_rng(0))
    x = build.activation("x", (1, 8, 8, 4))
    y = build.add(Conv2D(pads=Pads(1, 1, 1, 1)), x, *build.weights((4, 3, 3, 4), 0))
    build.add(Relu(), y)
    return build.graph(x)


def test_rows_overlap_and_elementwise_runs_in_place() -> None:
    plan = plan_layers(chain())
    row = 8 * 4
    assert plan.arena_bytes == 8 * row + 2 * row  # row 0 is written while input rows 0, 1 are read
    x, y, z = plan.slots
    assert (y.offset, z.offset) == (x.offset - 2 * row, y.offset)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: moved(p, 0, 0), '"x" are overwritten by'),
        (lambda p: moved(p, 0, 10**6), "leave the arena"),
        (lambda p: moved(p, 0, -4), "leave the arena"),
        (lambda p: replace(p, arena_bytes=2**40), "is not possible"),
        (lambda p: replace(p, isa="avx"), "no instruction set"),
        (lambda p: replace(p, stages=p.stages[::-1]), "before it is made"),
        (lambda p: replace(p, stages=p.stages[:1]), "leaves out"),
        (lambda p: replace(p, stages=p.stages * 2), "executed twice"),
        (lambda p: replace(p, slots=p.slots[1:]), "no slot holds this"),
        (lambda p: replace(p, slots=p.slots * 2), "two slots hold this"),
        (lambda p: replace(p, slots=(replace(p.slots[0], size=8), *p.slots[1:])), "its slot has 8"),
        (lambda p: replace(p, slots=(replace(p.slots[0], last=-1), *p.slots[1:])), "lives from"),
        (lambda p: replace(p, stages=(replace(p.stages[0], kernel="x"), p.stages[1])), "no kernel"),
    ],
)
def test_a_wrong_plan_is_refused_with_its_reason(change, said) -> None:
    graph = chain()
    with pytest.raises(FitError) as caught:
        check_plan(graph, change(plan_layers(graph)))
    assert caught.value.code == "E303"
    assert said in caught.value.what


def moved(plan: Plan, index: int, offset: int) -> Plan:
    slots = list(plan.slots)
    slots[index] = replace(slots[index], offset=offset)
    return replace(plan, slots=tuple(slots))


def test_a_plan_of_another_network_is_refused() -> None:
    plan = plan_layers(chain())
    with pytest.raises(FitError, match="another model"):
        check_plan(random_network(np.random.default_rng(1)), plan)


def test_the_plan_hash_covers_layout_and_weights() -> None:
    plan = plan_layers(chain())
    assert plan.hash == plan_layers(chain()).hash
    assert plan.hash != moved(plan, 0, 0).hash
    assert plan.hash != replace(plan, graph_hash="0").hash


def depthwise_chain(rng: np.random.Generator) -> Graph:
    """Return two convolutions with depthwise ones between them, which may run in place."""
    build = Builder(rng)
    channels = int(rng.integers(2, 9))
    size = tuple(int(n) for n in rng.integers(6, 13, 2))
    x = build.activation("x", (1, *size, channels))
    y = build.add(Conv2D(), x, *build.weights((channels, 1, 1, channels), 0))
    for _ in range(2):
        kernel, stride = int(rng.choice([3, 5])), int(rng.integers(1, 3))
        pad = kernel // 2
        op = DepthwiseConv2D(stride=(stride, stride), pads=Pads(pad, pad, pad, pad))
        y = build.add(op, y, *build.weights((1, kernel, kernel, channels), 3))
    build.add(Conv2D(), y, *build.weights((3, 1, 1, channels), 0))
    return build.graph(x)


def test_depthwise_in_place_is_exact_and_saves_memory(tmp_path: Path) -> None:
    graphs = [depthwise_chain(np.random.default_rng(seed)) for seed in range(40)]
    plans = [check_plan(graph, plan_layers(graph, Isa.DSP)) for graph in graphs]
    shared = [any(len(slot.tensors) > 1 for slot in plan.slots) for plan in plans]
    assert sum(shared) > 10
    assert_c_equals_reference(depthwise_chain, tmp_path, cases=40, isa=Isa.DSP)


def test_in_place_holds_only_where_input_and_output_start_together() -> None:
    for seed in range(40):
        graph = depthwise_chain(np.random.default_rng(seed))
        plan = plan_layers(graph, Isa.DSP)
        slot = next((s for s in plan.slots if len(s.tensors) > 1), None)
        if slot is None:
            continue
        source, result, *rest = slot.tensors
        apart = replace(slot, name=result, tensors=(result, *rest), offset=slot.offset + 4)
        slots = [replace(slot, tensors=(source,)) if s == slot else s for s in plan.slots]
        moved = replace(plan, slots=(*slots, apart), arena_bytes=plan.arena_bytes + 4)
        assert not accepted(graph, moved)
        return
    pytest.fail("no plan runs in place")
