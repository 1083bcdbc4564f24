"""Random graphs of operators that find an extreme element over axes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.ops.harness import inferred, single
from tests.ops.random_unary import random_quant, random_shape
from toolchain.ir import DType, Graph, Quant, Tensor
from toolchain.ops import ReduceMax, ReduceMin


def random_reduction(rng: np.random.Generator, kind: type[ReduceMax] | type[ReduceMin]) -> Graph:
    """Return a graph of one reduction, of int8 or, in one case of four, int16."""
    x = Tensor("x", random_shape(rng), DType.INT8, random_quant(rng))
    if rng.integers(4) == 0:
        x = replace(x, dtype=DType.INT16, quant=Quant.per_tensor(0.01))
    rank = len(x.shape)
    axes = sorted({int(axis) for axis in rng.integers(0, rank, int(rng.integers(1, 4)))})
    op = kind(tuple(axes), bool(rng.integers(2)))
    return single(op, [x], [inferred(op, [x], Tensor("y", (), x.dtype, x.quant))])
