"""QUANTIZE: real numbers to integers, or integers to another scale and type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array, DType, Tensor
from toolchain.numerics import Int64, quantize_multiplier, requantize, saturate
from toolchain.ops.base import Lowered, Number, Op, TensorType, require
from toolchain.ops.unary import EIGHT_BITS, lower_table
from toolchain.ops.window import Window, broadcast

_TARGETS = {
    DType.FLOAT32: {DType.INT8, DType.INT16},
    DType.INT8: {DType.INT8, DType.UINT8, DType.INT16, DType.INT32},
    DType.UINT8: {DType.INT8},
    DType.INT16: {DType.INT8, DType.INT16, DType.INT32},
    DType.INT32: {DType.INT8, DType.INT16},
}


@dataclass(frozen=True)
class Quantize(Op):
    """Bring x to the output's type and quantisation.

    From float32: ``round(x / scale) + zero_point``, the quotient in float32, half away from zero;
    values that are not numbers give the type's least value. From integers: double-rounding
    requantisation. Specification: TensorFlow Lite ``reference_ops::AffineQuantize`` and
    ``Requantize``.
    """

    name: ClassVar[str] = "quantize"

    def infer(self, operands: Operands) -> tuple[TensorType, ...]:
        """See `Op.infer`."""
        x, (y,) = operands.input(0), operands.outputs
        legal = y.dtype in _TARGETS.get(x.dtype, set())
        require(legal, self, f"{x.dtype.value} to {y.dtype.value} is not supported")
        return (TensorType(x.shape, y.dtype),)

    def reference(self, operands: Operands, values: Sequence[Array | None]) -> tuple[Array, ...]:
        """See `Op.reference`."""
        x, y = operands.input(0), operands.output
        if x.dtype == DType.FLOAT32:
            return (_quantize(np.asarray(values[0], dtype=np.float32), y),)
        return (_rescale(x, y, np.asarray(values[0], dtype=np.int64)),)

    def windows(self, operands: Operands) -> tuple[Window, ...]:
        """See `Op.windows`."""
        return (broadcast(operands.input(0).shape, operands.output.shape),)

    def lower(self, operands: Operands) -> Lowered:
        """See `Op.lower`."""
        x, y = operands.input(0), operands.output
        if x.dtype in EIGHT_BITS and y.dtype in EIGHT_BITS:
            return lower_table(x, lambda values: _rescale(x, y, values))
        if x.dtype == DType.FLOAT32:
            return Lowered("quantize", _float_numbers(y), in_order=True)
        # Bytes may alias anything in C; integers of two wider types may not share memory.
        in_order = x.dtype == y.dtype or 1 in (x.dtype.itemsize, y.dtype.itemsize)
        return Lowered("requantize", _integer_numbers(x, y), in_order=in_order)


def _float_numbers(y: Tensor) -> dict[str, Number]:
    low, high = y.dtype.limits
    return {
        "size": y.size,
        "scale": y.scale,
        "y_zero": y.zero_point,
        "y_min": low,
        "y_max": high,
    }


def _integer_numbers(x: Tensor, y: Tensor) -> dict[str, Number]:
    multiplier, shift = quantize_multiplier(x.scale / y.scale)
    low, high = y.dtype.limits
    int32_low, int32_high = DType.INT32.limits
    return {
        "size": x.size,
        "x_zero": x.zero_point,
        "multiplier": multiplier,
        "shift": shift,
        "y_zero": y.zero_point,
        # Bounds before the zero point is added, so that the sum cannot leave int32.
        "y_min": max(low - y.zero_point, int32_low),
        "y_max": min(high - y.zero_point, int32_high),
    }


def _quantize(x: Array, y: Tensor) -> Array:
    low, high = y.dtype.limits
    with np.errstate(over="ignore"):
        quotient = x / np.float32(y.scale)
    lowest, highest = np.float32(low - y.zero_point), np.float32(high - y.zero_point)
    clipped = np.clip(np.nan_to_num(quotient, nan=float(lowest)), lowest, highest)
    exact = clipped.astype(np.float64)
    rounded = np.trunc(exact + np.copysign(0.5, exact)) + y.zero_point
    return saturate(rounded, (low, high), y.dtype)


def _rescale(x: Tensor, y: Tensor, values: Int64) -> Array:
    multiplier, shift = quantize_multiplier(x.scale / y.scale)
    scaled = requantize(values - x.zero_point, multiplier, shift) + y.zero_point
    return saturate(scaled, y.dtype.limits, y.dtype)
