"""Transcendental functions of 16-bit values, as TFLite's kernels interpolate them in tables.

The tables are made while compiling; their C twins are in ``tsr_wide.h``. Every entry is moved by
half the error that interpolation makes in the middle of its step, so that errors lie on both sides.
Reference: TensorFlow Lite ``sigmoid_table_uint16``, ``LUTPopulate`` and ``LUTLookup``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from toolchain.ir.tensor import Array
from toolchain.numerics import Int64

_STEPS = 512  # of a softmax table
_SIGMOID_STEP = 1 / 24
_WHOLE = 2**16
Real = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]


class Scaling(NamedTuple):
    """Inputs times ``multiplier``, rounded right by ``shift``: 1.0 becomes ``3 * 2**12``."""

    multiplier: int
    shift: int

    def apply(self, x: Array) -> Int64:
        """Return inputs in steps of the sigmoid table."""
        half = (1 << self.shift) >> 1
        scaled: Int64 = (np.asarray(x, dtype=np.int64) * self.multiplier + half) >> self.shift
        return scaled


def sigmoid_scaling(scale: float, octaves: int) -> Scaling:
    """Return how inputs of ``scale`` are brought to the table.

    Args:
        scale: of the input, a float32 value.
        octaves: powers of two from 2**-12 on that need no rounding.
    """
    mantissa, exponent = math.frexp(scale)
    power = exponent - 1 + 12
    if mantissa == 0.5 and 0 <= power <= octaves:
        return Scaling(3 << power, 0)
    multiplier, shift = scale * 3 * 2**12, 0
    while multiplier <= (2**15 - 1) / 2 and shift <= 30:
        multiplier, shift = 2 * multiplier, shift + 1
    return Scaling(int(multiplier), shift)


@cache
def sigmoid_table() -> Int64:
    """Return ``1 / (1 + exp(-i / 24))`` in 1/65536 for i = 0 to 255."""

    def exact(i: Real) -> Real:
        return _WHOLE / (1 + np.exp(-i * _SIGMOID_STEP))

    i = np.arange(256, dtype=np.float64)
    error = exact(i + 0.5) - (exact(i) + exact(i + 1)) / 2
    table = np.minimum(np.floor(exact(i) + error / 2 + 0.5), _WHOLE - 1).astype(np.int64)
    table[-1] = _WHOLE - 1  # where larger inputs saturate
    return table


def logistic(x: Array) -> Int64:
    """Return the sigmoid in 1/32768 of ``x`` in 1/(3 * 2**12)."""
    magnitude = _sigmoid(x, 9, (2**15 - 1) << 10)
    mirrored = np.where(np.asarray(x) >= 0, magnitude, (1 << 25) - 1 - magnitude)
    result: Int64 = (mirrored + (1 << 9)) >> 10
    return result


def tanh(x: Array) -> Int64:
    """Return the hyperbolic tangent in 1/32768 of ``x`` in 1/(3 * 2**12)."""
    magnitude = _sigmoid(x, 8, (2**16 - 1) << 8) - (1 << 23)
    mirrored = np.where(np.asarray(x) >= 0, magnitude, -1 - magnitude)
    result: Int64 = (mirrored + (1 << 7)) >> 8
    return result


def _sigmoid(x: Array, bits: int, most: int) -> Int64:
    """Return the interpolated table at ``|x|``, of which ``bits`` are the place in a step."""
    table = sigmoid_table()
    magnitude = np.abs(np.asarray(x, dtype=np.int64))
    step = np.minimum(magnitude >> bits, 254)
    slope = table[step + 1] - table[step]
    value = (table[step] << bits) + (magnitude & (1 << bits) - 1) * slope
    return np.where(magnitude >> bits >= 255, most, value)


@cache
def exp_table() -> Int64:
    """Return ``exp(x)`` in 1/32768 at 513 points from -10 to 0."""
    return _table(lambda x: np.exp(x.astype(np.float64)).astype(np.float32), -10.0, 0.0)


@cache
def reciprocal_table() -> Int64:
    """Return ``1 / (1 + x)`` in 1/32768 at 513 points from 0 to 1."""
    return _table(lambda x: np.float32(1) / (np.float32(1) + x), 0.0, 1.0)


def function_table(function: Callable[[Float32], Float32], x_scale: float, y_scale: float) -> Int64:
    """Return a function of int16 x in int16 y at 513 points from the least x to the greatest.

    What is not finite, or far beyond the output's range, saturates.
    """
    low, high = (np.float32(x_scale) * np.float32(code) for code in (-(2**15), 2**15 - 1))
    unit = np.float32(2**16) / (np.float32(y_scale) * np.float32(2**16 - 1))
    most = np.float32(2**20) / unit

    def bounded(x: Float32) -> Float32:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            values = np.nan_to_num(function(x), posinf=np.inf, neginf=-np.inf)
        return np.clip(values, -most, most).astype(np.float32)

    return _table(bounded, float(low), float(high), unit)


def look_up(x: Array, table: Int64) -> Int64:
    """Interpolate ``table`` at 16-bit ``x``, which spans it from end to end."""
    x = np.asarray(x, dtype=np.int64)
    step = 256 + (x >> 7)
    value: Int64 = table[step] + (((table[step + 1] - table[step]) * (x & 127) + 64) >> 7)
    return value


def _table(
    function: Callable[[Float32], Float32],
    low: float,
    high: float,
    unit: np.float32 = np.float32(2**15),  # noqa: B008  an immutable number
) -> Int64:
    """Return a table in steps of ``1 / unit`` with the roundings of TFLite, all in float32."""
    step = np.float32((high - low) / _STEPS)
    points = (np.float32(low) + np.arange(_STEPS + 1, dtype=np.float32) * step).astype(np.float32)
    half = np.float32(2)
    exact = function(points) * unit
    middle = _nearest(function((points[:-1] + step / half).astype(np.float32)) * unit)
    interpolated = _nearest((exact[1:] + _nearest(exact[:-1])) / half)
    moved = _nearest(exact)
    moved[:-1] -= _nearest((interpolated - middle) / half)
    return np.clip(moved, -(2**15), 2**15 - 1).astype(np.int64)


def _nearest(x: Float32) -> Float32:
    """Round half away from zero."""
    rounded: Float32 = np.trunc(x.astype(np.float64) + np.copysign(0.5, x)).astype(np.float32)
    return rounded
