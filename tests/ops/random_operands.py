"""Random operands of weighted and spatial operators."""

from __future__ import annotations

import numpy as np

from toolchain.ir import DType, Quant, Tensor, constant
from toolchain.numerics import Activation
from toolchain.ops.spatial import Pads


def ints(rng: np.random.Generator, low: int, high: int, count: int) -> tuple[int, ...]:
    """Return ``count`` integers, ``low`` to ``high`` inclusive."""
    return tuple(int(v) for v in rng.integers(low, high, count, endpoint=True))


def pair(rng: np.random.Generator, low: int, high: int) -> tuple[int, int]:
    first, second = ints(rng, low, high, 2)
    return first, second


def random_pads(rng: np.random.Generator, limit: int) -> Pads:
    return Pads(*ints(rng, 0, limit, 4))


def random_activation(rng: np.random.Generator) -> Activation:
    return list(Activation)[int(rng.integers(len(Activation)))]


def random_quant(rng: np.random.Generator) -> Quant:
    return Quant.per_tensor(rng.uniform(0.01, 0.2), int(rng.integers(-128, 128)))


def int8_tensor(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> Tensor:
    return Tensor(name, shape, DType.INT8, random_quant(rng))


def random_weights(rng: np.random.Generator, shape: tuple[int, ...], axis: int) -> Tensor:
    """Return int8 weights: per channel, per tensor, or per tensor with a zero point.

    Some scales make an output multiplier above 1, some one too small for a 32-bit shift.
    """
    count, zero = [(shape[axis], 0), (1, 0), (1, int(rng.integers(-128, 128)))][rng.integers(3)]
    spread = rng.uniform(1e-4, 0.02, count) * rng.choice([1, 1, 1, 1, 1, 1, 100, 1e-9], count)
    scales = tuple(float(np.float32(s)) for s in spread)
    quant = Quant(scales, (zero,) * count, axis if count == shape[axis] else None)
    return constant("w", rng.integers(-127, 128, shape, dtype=np.int8), quant)


def random_bias(rng: np.random.Generator, channels: int) -> Tensor | None:
    if rng.integers(4) == 0:
        return None
    return constant("b", rng.integers(-3000, 3000, channels, dtype=np.int32))
