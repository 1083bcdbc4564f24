"""Random tensors of every element type that movement operators take."""

from __future__ import annotations

import numpy as np

from tests.ops.random_operands import ints, random_quant
from toolchain.ir import DType, Tensor

TYPES = (DType.INT8, DType.INT16, DType.INT32, DType.FLOAT32)


def random_type(rng: np.random.Generator) -> DType:
    return TYPES[int(rng.integers(len(TYPES)))]


def tensor(rng: np.random.Generator, name: str, shape: tuple[int, ...], dtype: DType) -> Tensor:
    quant = random_quant(rng) if dtype == DType.INT8 else None
    return Tensor(name, shape, dtype, quant)


def random_tensor(rng: np.random.Generator, max_rank: int = 4) -> Tensor:
    shape = ints(rng, 1, 6, int(rng.integers(1, max_rank + 1)))
    return tensor(rng, "x", shape, random_type(rng))
