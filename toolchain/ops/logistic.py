"""LOGISTIC: ``1 / (1 + exp(-x))``, int8 or int16."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from toolchain import interpolated
from toolchain.fixed_point import logistic
from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array, DType
from toolchain.numerics import Int64, rounding_shift_right, saturate
from toolchain.ops.base import Lowered, TensorType
from toolchain.ops.saturating import saturating_input
from toolchain.ops.sigmoid import lower_sigmoid
from toolchain.ops.unary import Unary, require_output

_OUTPUT_BITS = 8  # probabilities in steps of 1/256


@dataclass(frozen=True)
class Logistic(Unary):
    """Sigmoid of x; the output has scale 1/256 and zero point -128, or 1/32768 and 0 for int16.

    Specification: TensorFlow Lite 8-bit quantisation specification, LOGISTIC; fixed point as in
    gemmlowp, input Q4.27. For int16 a table is interpolated (`toolchain.interpolated`).
    """

    name: ClassVar[str] = "logistic"
    types: ClassVar[tuple[DType, ...]] = (DType.INT8, DType.INT16)

    def infer(self, operands: Operands) -> tuple[TensorType, ...]:
        """See `Op.infer`."""
        if operands.input(0).dtype is DType.INT16:
            require_output(self, operands, 2.0**-15, 0)
        else:
            require_output(self, operands, 2.0**-_OUTPUT_BITS, -128)
        return super().infer(operands)

    def evaluate(self, operands: Operands, x: Int64) -> Array:
        """See `Unary.evaluate`."""
        y = operands.output
        if y.dtype is DType.INT16:
            return interpolated.logistic(self._scaling(operands).apply(x)).astype(np.int16)
        fixed, below, above = saturating_input(operands.input(0), x)
        scaled = rounding_shift_right(logistic(fixed, 4), 31 - _OUTPUT_BITS) - 128
        low, high = y.dtype.limits
        return saturate(np.select([below, above], [low, high], scaled), (low, high), y.dtype)

    def lower(self, operands: Operands) -> Lowered:
        """See `Op.lower`."""
        if operands.output.dtype is not DType.INT16:
            return super().lower(operands)
        return lower_sigmoid("logistic_16", operands, self._scaling(operands))

    def _scaling(self, operands: Operands) -> interpolated.Scaling:
        return interpolated.sigmoid_scaling(operands.input(0).scale, octaves=0)
