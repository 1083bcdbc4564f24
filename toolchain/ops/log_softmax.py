"""LOG_SOFTMAX over the last axis, int8 or float32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from toolchain import floating_point
from toolchain.fixed_point import log
from toolchain.floating_point import Float32
from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array, DType, Tensor
from toolchain.numerics import quantize_multiplier, requantize, rounding_shift_right, saturate
from toolchain.ops.base import Lowered, Number, Op, TensorType
from toolchain.ops.saturating import softmax_scaling
from toolchain.ops.softmax import (
    SUM_BITS,
    below_maximum,
    exponentials,
    float_rows,
    last_axis,
    require_rows,
    row_differences,
    sum_from_left,
)
from toolchain.ops.unary import require_output
from toolchain.ops.window import Window


@dataclass(frozen=True)
class LogSoftmax(Op):
    """``x - log(sum(exp(x)))``; of int8 x with output scale 1/16, zero point 127.

    Specification: TensorFlow Lite 8-bit quantisation specification, LOG_SOFTMAX; fixed point as
    in gemmlowp, differences and logarithm in Q5.26. In float32, at the edge of a network, it is
    TFLite's ``reference_ops::LogSoftmax``: every step rounded to float32, sums from the left.
    """

    name: ClassVar[str] = "log_softmax"

    def infer(self, operands: Operands) -> tuple[TensorType, ...]:
        """See `Op.infer`."""
        x = operands.input(0)
        if x.dtype is DType.FLOAT32:
            return float_rows(self, x)
        require_rows(self, x, 1.0)
        require_output(self, operands, 2.0**-4, 127)
        return (TensorType(x.shape, DType.INT8),)

    def reference(self, operands: Operands, values: Sequence[Array | None]) -> tuple[Array, ...]:
        """See `Op.reference`."""
        x, y = operands.input(0), operands.output
        if x.dtype is DType.FLOAT32:
            return (_real(np.asarray(values[0], dtype=np.float32)),)
        multiplier, shift, least = softmax_scaling(x.scale, 1.0)
        below = row_differences(np.asarray(values[0]))
        powers = rounding_shift_right(exponentials(x, 1.0), SUM_BITS)[below]
        log_sum = log(powers.sum(axis=-1, keepdims=True), SUM_BITS, 5)
        room = requantize(log_sum - 2**31, *_inverse(x))
        counted = -below > np.maximum(least - 1, room)
        scaled = requantize(np.where(counted, -below, 0), multiplier, shift) - log_sum
        low, high = y.dtype.limits
        real = rounding_shift_right(scaled, 22) + high
        return (saturate(np.where(counted, real, low), (low, high), y.dtype),)

    def windows(self, operands: Operands) -> tuple[Window, ...]:
        """See `Op.windows`."""
        return (last_axis(operands.input(0)),)

    def lower(self, operands: Operands) -> Lowered:
        """See `Op.lower`."""
        x = operands.input(0)
        depth = x.shape[-1]
        rows: dict[str, Number] = {"rows": x.size // depth, "depth": depth}
        if x.dtype is DType.FLOAT32:
            return Lowered("log_softmax_float", rows, in_order=True)
        table = rounding_shift_right(exponentials(x, 1.0), SUM_BITS).astype(np.int32)
        multiplier, shift, least = softmax_scaling(x.scale, 1.0)
        numbers = {
            **rows,
            "scale": (multiplier, shift),
            "inverse": _inverse(x),
            "least": least - 1,
        }
        return Lowered("log_softmax", numbers, {"powers": table}, in_order=True)


def _real(x: Float32) -> Float32:
    with np.errstate(over="ignore", invalid="ignore"):
        below = below_maximum(x)
        return below - floating_point.log(sum_from_left(floating_point.exp(below)))


def _inverse(x: Tensor) -> tuple[int, int]:
    """Return multiplier and shift from Q5.26 back to steps of ``x``."""
    multiplier, shift, _ = softmax_scaling(x.scale, 1.0)
    return quantize_multiplier(2.0 ** (31 - shift) / multiplier)
