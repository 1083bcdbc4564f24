"""Exact integer arithmetic of the default semantics, ``tflite``.

Requantisation follows gemmlowp's double rounding as TFLite Micro's reference kernels do it: a
saturating rounding doubling high multiply, then a rounding shift that goes half away from zero.
Reference: B. Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR 2018, section 2.2; gemmlowp ``fixedpoint.h``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from enum import Enum

import numpy as np
import numpy.typing as npt

from toolchain.errors import ModelError
from toolchain.ir.tensor import Array, DType, Tensor

Int64 = npt.NDArray[np.int64]


class Activation(Enum):
    """Activations that TFLite fuses into an operator; the value is their real-valued range."""

    NONE = (-math.inf, math.inf)
    RELU = (0.0, math.inf)
    RELU_N1_TO_1 = (-1.0, 1.0)
    RELU6 = (0.0, 6.0)


def quantize_multiplier(real: float) -> tuple[int, int]:
    """Split a real multiplier into ``q * 2**(shift - 31)`` with ``2**30 <= q < 2**31``.

    Multipliers below ``2**-32`` (dead channels) are flushed to ``(0, 0)``, as their shift would
    leave the range of a 32-bit register.

    Raises:
        ModelError: E206 if ``real`` is so large that sums would be shifted out of the register.
    """
    if real == 0.0:
        return 0, 0
    if not real < 2.0**30:
        raise ModelError("E206", f"scales are too far apart: a multiplier of {real:.3g}")
    mantissa, shift = math.frexp(real)
    q = math.floor(mantissa * 2**31 + 0.5)
    if q == 2**31:
        q //= 2
        shift += 1
    return (0, 0) if shift < -31 else (q, shift)


def quantize_multipliers(reals: Iterable[float]) -> tuple[Int64, Int64]:
    """Return arrays of multipliers and shifts, one per channel."""
    pairs = [quantize_multiplier(real) for real in reals]
    multipliers, shifts = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return multipliers, shifts


def doubling_high_multiply(a: Array, b: Array | int) -> Int64:
    """Return ``a * b / 2**31`` rounded half up and saturated to int32.

    gemmlowp adds a nudge of the product's sign and truncates, which comes to the same.
    """
    product = np.asarray(a, dtype=np.int64) * np.asarray(b, dtype=np.int64)
    rounded: Int64 = (product + 2**30) >> 31
    return np.minimum(rounded, 2**31 - 1)


def rounding_shift_right(x: Array, exponent: Array | int) -> Int64:
    """Return ``x / 2**exponent`` rounded to nearest, half away from zero."""
    x = np.asarray(x, dtype=np.int64)
    exponent = np.asarray(exponent, dtype=np.int64)
    mask = (np.int64(1) << exponent) - 1
    threshold = (mask >> 1) + (x < 0)
    rounded: Int64 = (x >> exponent) + ((x & mask) > threshold)
    return rounded


def requantize(acc: Array, multiplier: Array | int, shift: Array | int) -> Int64:
    """Multiply int32 accumulators by ``multiplier * 2**(shift - 31)`` with double rounding."""
    shift = np.asarray(shift, dtype=np.int64)
    left = np.asarray(acc, dtype=np.int64) << np.maximum(shift, 0)
    wrapped = ((left + 2**31) & (2**32 - 1)) - 2**31
    return rounding_shift_right(doubling_high_multiply(wrapped, multiplier), np.maximum(-shift, 0))


def reduce_multiplier(multiplier: Array) -> Int64:
    """Return 31-bit multipliers rounded to 15 bits, as sums of 64 bits are multiplied with."""
    wide = np.asarray(multiplier, dtype=np.int64)
    reduced: Int64 = np.minimum((wide + 2**15) >> 16, 2**15 - 1)
    return reduced


def requantize_wide(acc: Array, multiplier: Array | int, shift: Array | int) -> Int64:
    """Multiply int64 accumulators by ``multiplier * 2**(shift - 31)``, rounded half up once.

    The multiplier is cut to 15 bits, and the result to a 32-bit register. Specification: TFLite
    Micro ``MultiplyByQuantizedMultiplier`` of 64-bit sums, which 16x8 kernels use.
    """
    total = 15 - np.asarray(shift, dtype=np.int64)
    reduced = reduce_multiplier(np.asarray(multiplier))
    product = np.asarray(acc, dtype=np.int64) * reduced + (np.int64(1) << (total - 1))
    wrapped: Int64 = (((product >> total) + 2**31) & (2**32 - 1)) - 2**31
    return wrapped


def round_half_away(x: float) -> int:
    """Return ``x`` rounded to nearest, half away from zero (C's ``round``)."""
    return int(math.copysign(math.floor(abs(x) + 0.5), x))


def clamp_range(activation: Activation, output: Tensor) -> tuple[int, int]:
    """Return the quantised output range that a fused activation leaves.

    Bounds are quantised as TFLite does: ``zero_point + round(bound / scale)`` with the quotient in
    float32.
    """
    low, high = output.dtype.limits
    real_low, real_high = activation.value
    if real_low != -math.inf:
        low = max(low, _quantize_bound(real_low, output))
    if real_high != math.inf:
        high = min(high, _quantize_bound(real_high, output))
    return low, high


def _quantize_bound(bound: float, output: Tensor) -> int:
    ratio = np.float32(bound) / np.float32(output.scale)
    return output.zero_point + round_half_away(float(ratio))


def saturate(x: Array, bounds: Sequence[int], dtype: DType) -> Array:
    """Clamp to the inclusive ``bounds`` and cast."""
    return np.clip(x, bounds[0], bounds[1]).astype(dtype.numpy)
