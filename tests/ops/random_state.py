"""Random states for operators that update them."""

from __future__ import annotations

import numpy as np

from tests.ops.random_movement import random_type, tensor
from tests.ops.random_operands import ints
from toolchain.ir import Graph, Node, State, Tensor
from toolchain.ops import Op


def random_rows(rng: np.random.Generator) -> tuple[Tensor, int]:
    """Return a tensor of rows, batch 1, and how many of them are new."""
    rows = int(rng.integers(1, 7))
    shape = (1, rows, *ints(rng, 1, 5, int(rng.integers(1, 3))))
    return tensor(rng, "state", shape, random_type(rng)), int(rng.integers(1, rows + 1))


def updating(rng: np.random.Generator, op: Op, state: Tensor, x: Tensor) -> Graph:
    """Return a graph whose only node updates ``state`` by ``x``; the caller receives the state."""
    after = Tensor("after", state.shape, state.dtype, state.quant)
    low, high = (-128, 128) if rng.integers(2) else (7, 8)
    initial = rng.integers(low, high, state.shape).astype(state.dtype.numpy)
    tensors = {t.name: t for t in (state, x, after)}
    node = Node("update", op, (state.name, x.name), (after.name,))
    states = (State(state.name, after.name, initial),)
    return Graph("state", (node,), tensors, (x.name,), (after.name,), states)
