"""TANH: hyperbolic tangent, int8 or int16."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from toolchain import interpolated
from toolchain.fixed_point import tanh
from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array, DType
from toolchain.numerics import Int64, rounding_shift_right, saturate
from toolchain.ops.base import Lowered, TensorType
from toolchain.ops.saturating import saturating_input
from toolchain.ops.sigmoid import lower_sigmoid
from toolchain.ops.unary import Unary, require_output

_OUTPUT_BITS = 7  # -1 to 1 in steps of 1/128


@dataclass(frozen=True)
class Tanh(Unary):
    """Hyperbolic tangent of x; the output has scale 1/128 (1/32768 for int16) and zero point 0.

    Specification: TensorFlow Lite 8-bit quantisation specification, TANH; fixed point as in
    gemmlowp, input Q4.27. For int16 a table is interpolated (`toolchain.interpolated`).
    """

    name: ClassVar[str] = "tanh"
    types: ClassVar[tuple[DType, ...]] = (DType.INT8, DType.INT16)

    def infer(self, operands: Operands) -> tuple[TensorType, ...]:
        """See `Op.infer`."""
        wide = operands.input(0).dtype is DType.INT16
        require_output(self, operands, 2.0 ** -(15 if wide else _OUTPUT_BITS), 0)
        return super().infer(operands)

    def evaluate(self, operands: Operands, x: Int64) -> Array:
        """See `Unary.evaluate`."""
        y = operands.output
        if y.dtype is DType.INT16:
            return interpolated.tanh(self._scaling(operands).apply(x)).astype(np.int16)
        fixed, below, above = saturating_input(operands.input(0), x)
        scaled = rounding_shift_right(tanh(fixed, 4), 31 - _OUTPUT_BITS)
        low, high = y.dtype.limits
        return saturate(np.select([below, above], [low, high], scaled), (low, high), y.dtype)

    def lower(self, operands: Operands) -> Lowered:
        """See `Op.lower`."""
        if operands.output.dtype is not DType.INT16:
            return super().lower(operands)
        return lower_sigmoid("tanh_16", operands, self._scaling(operands))

    def _scaling(self, operands: Operands) -> interpolated.Scaling:
        return interpolated.sigmoid_scaling(operands.input(0).scale, octaves=1)
