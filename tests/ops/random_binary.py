"""Random graphs of operators of two inputs: every way to broadcast, constants on either side."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.ops.harness import inferred, random_values, single
from tests.ops.random_unary import random_quant
from toolchain.ir import Array, DType, Graph, Quant, Tensor, constant, trace
from toolchain.ops import Op


def random_shapes(rng: np.random.Generator) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return two shapes of rank 1 to 5 that broadcast."""
    rank = int(rng.integers(1, 6))
    full = [int(n) for n in rng.integers(1, 6, rank)]
    shapes = []
    for _ in range(2):
        repeat = rng.random(rank) < rng.choice([0.0, 0.0, 0.4, 1.0])
        shape = [1 if r else n for r, n in zip(repeat, full, strict=True)]
        shapes.append(tuple(shape[int(rng.integers(rank)) if rng.random() < 0.3 else 0 :]))
    return shapes[0], shapes[1]


def random_quants(rng: np.random.Generator) -> tuple[Quant, Quant, Quant]:
    """Return quantisations of both inputs and the output, often in ratios that make exact ties."""
    a, b, y = (random_quant(rng) for _ in range(3))
    if rng.random() < 0.4:
        ratios = rng.choice([0.125, 0.25, 0.5, 0.75, 1.0], 3)
        a, b, y = (
            Quant.per_tensor(ratio, q.zero_point)
            for ratio, q in zip(ratios, (a, b, y), strict=True)
        )
    return a, b, y


def random_binary(
    rng: np.random.Generator, op: Op, quants: tuple[Quant, Quant, Quant] | None = None
) -> Graph:
    """Return a graph of ``op`` on two inputs, of which one may be constant."""
    qa, qb, qy = quants or random_quants(rng)
    shape_a, shape_b = random_shapes(rng)
    a, b = Tensor("a", shape_a, DType.INT8, qa), Tensor("b", shape_b, DType.INT8, qb)
    fixed = int(rng.integers(4))
    if fixed == 0:
        a = constant("a", random_values(a, rng), qa)
    if fixed == 1:
        b = constant("b", random_values(b, rng), qb)
    return single(op, [a, b], [inferred(op, [a, b], Tensor("y", (), DType.INT8, qy))])


def assert_near_real(op: Op, function: Callable[[Array, Array], Array], seed: int) -> None:
    """Compare a random case with the same function of real numbers: one step apart at most."""
    rng = np.random.default_rng(seed)
    graph = random_binary(rng, op)
    values = trace(graph, [random_values(tensor, rng) for tensor in graph.input_tensors])

    def real(name: str) -> Array:
        tensor = graph.tensors[name]
        return tensor.scale * (values[name].astype(float) - tensor.zero_point)

    y = graph.tensors["y"]
    exact = function(real("a"), real("b")) / y.scale + y.zero_point
    assert np.abs(values["y"] - np.clip(exact, -128, 127)).max() <= 1
