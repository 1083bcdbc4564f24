"""Random graphs of operators that map each element by itself."""

from __future__ import annotations

import numpy as np

from tests.ops.harness import inferred, single
from toolchain.ir import DType, Graph, Quant, Tensor
from toolchain.ops import Op


def random_shape(rng: np.random.Generator, rank: int = 4) -> tuple[int, ...]:
    return tuple(int(n) for n in rng.integers(1, 7, int(rng.integers(1, rank + 1))))


def random_quant(rng: np.random.Generator, low: float = 1e-3, high: float = 0.5) -> Quant:
    """Return a scale from ``low`` to ``high``; every third is round, for exact ties in ratios."""
    exponent = rng.uniform(np.log2(low), np.log2(high))
    if rng.integers(3) == 0:
        exponent = np.floor(exponent + 0.5)
    return Quant.per_tensor(2.0**exponent, random_zero(rng))


def random_zero(rng: np.random.Generator) -> int:
    return int(rng.choice([-128, 0, 127, rng.integers(-128, 128)]))


def random_unary(rng: np.random.Generator, op: Op, quant: Quant | None = None) -> Graph:
    """Return a graph of ``op``; the output has ``quant`` or a random quantisation."""
    x = Tensor("x", random_shape(rng), DType.INT8, random_quant(rng))
    y = Tensor("y", (), DType.INT8, quant or random_quant(rng))
    return single(op, [x], [inferred(op, [x], y)])
