"""States: nothing else touches their bytes, and they change only after all have read them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from codegen.emit import emit
from runtimes.host import build_host
from tests.ops.harness import random_values
from tests.ops.random_operands import random_quant
from toolchain.errors import FitError
from toolchain.ir import DType, Graph, Node, Quant, Session, State, Tensor, verify
from toolchain.ops import Add, Assign, Reshape, Tanh
from toolchain.plan import check_plan, pareto, plan_model


def recurrent(rng: np.random.Generator) -> Graph:
    """Return ``h = tanh(x + h)`` with two states and late readers of both, one behind a view."""
    size = int(rng.integers(1, 40))
    quant = random_quant(rng)
    names = ("x", "h", "sum", "next", "view", "late", "old", "y", "h2", "c", "c2")
    shapes = {"view": (size, 1), "late": (size, 1), "c": (size, 1), "c2": (size, 1)}
    tensors = {n: Tensor(n, shapes.get(n, (1, size)), DType.INT8, quant) for n in names}
    tensors["next"] = replace(tensors["next"], quant=Quant.per_tensor(1 / 128))
    nodes = (
        Node("sum", Add(), ("x", "h"), ("sum",)),
        Node("tanh", Tanh(), ("sum",), ("next",)),
        Node("view", Reshape((size, 1)), ("h",), ("view",)),
        Node("late", Add(), ("view", "c"), ("late",)),
        Node("old", Reshape((1, size)), ("late",), ("old",)),
        Node("y", Add(), ("old", "next"), ("y",)),
        Node("keep_h", Assign(), ("h", "y"), ("h2",)),
        Node("keep_c", Assign(), ("c", "late"), ("c2",)),
    )
    start = rng.integers(-128, 128, (1, size)).astype(np.int8)
    states = (State("h", "h2", start), State("c", "c2", np.zeros((size, 1), np.int8)))
    return verify(Graph("recurrent", nodes, tensors, ("x",), ("y",), states))


@pytest.mark.parametrize("seed", range(6))
def test_every_plan_remembers(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    graph = recurrent(rng)
    cases = [[random_values(graph.input_tensors[0], rng)] for _ in range(10)]
    session = Session(graph)
    expected = [session.run(case) for case in cases]
    for number, plan in enumerate(pareto(graph)):
        check_plan(graph, plan)
        model = build_host(graph, emit(graph, plan), tmp_path / str(number))
        np.testing.assert_array_equal([model.run(case) for case in cases], expected)


def test_a_plan_that_uses_the_memory_of_a_state_is_refused() -> None:
    graph = recurrent(np.random.default_rng(0))
    plan = plan_model(graph)
    state = plan.slot_of("h")
    other = next(slot for slot in plan.slots if "sum" in slot.tensors)
    thief = replace(other, offset=state.offset)
    slots = tuple(thief if slot is other else slot for slot in plan.slots)
    with pytest.raises(FitError, match="overwritten"):
        check_plan(graph, replace(plan, slots=slots))


def test_a_plan_that_forgets_a_state_is_refused() -> None:
    graph = recurrent(np.random.default_rng(0))
    plan = plan_model(graph)
    short = replace(plan.slot_of("c"), last=len(graph.nodes) - 1)
    slots = tuple(short if "c" in slot.tensors else slot for slot in plan.slots)
    with pytest.raises(FitError, match="lives from"):
        check_plan(graph, replace(plan, slots=slots))
