"""TANH: hyperbolic tangent, int8."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from toolchain.fixed_point import tanh
from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array
from toolchain.numerics import Int64, rounding_shift_right, saturate
from toolchain.ops.base import TensorType
from toolchain.ops.saturating import saturating_input
from toolchain.ops.unary import Unary, require_output

_OUTPUT_BITS = 7  # -1 to 1 in steps of 1/128


@dataclass(frozen=True)
class Tanh(Unary):
    """Hyperbolic tangent of int8 x; the output has scale 1/128 and zero point 0.

    Specification: TensorFlow Lite 8-bit quantisation specification, TANH; fixed point as in
    gemmlowp, input Q4.27.
    """

    name: ClassVar[str] = "tanh"

    def infer(self, operands: Operands) -> tuple[TensorType, ...]:
        """See `Op.infer`."""
        require_output(self, operands, 2.0**-_OUTPUT_BITS, 0)
        return super().infer(operands)

    def evaluate(self, operands: Operands, x: Int64) -> Array:
        """See `Unary.evaluate`."""
        y = operands.output
        fixed, below, above = saturating_input(operands.input(0), x)
        scaled = rounding_shift_right(tanh(fixed, 4), 31 - _OUTPUT_BITS)
        low, high = y.dtype.limits
        return saturate(np.select([below, above], [low, high], scaled), (low, high), y.dtype)
