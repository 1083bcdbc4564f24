"""LOGISTIC: ``1 / (1 + exp(-x))``, int8."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from toolchain.fixed_point import logistic
from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array
from toolchain.numerics import Int64, rounding_shift_right, saturate
from toolchain.ops.base import TensorType
from toolchain.ops.saturating import saturating_input
from toolchain.ops.unary import Unary, require_output

_OUTPUT_BITS = 8  # probabilities in steps of 1/256


@dataclass(frozen=True)
class Logistic(Unary):
    """Sigmoid of int8 x; the output has scale 1/256 and zero point -128.

    Specification: TensorFlow Lite 8-bit quantisation specification, LOGISTIC; fixed point as in
    gemmlowp, input Q4.27.
    """

    name: ClassVar[str] = "logistic"

    def infer(self, operands: Operands) -> tuple[TensorType, ...]:
        """See `Op.infer`."""
        require_output(self, operands, 2.0**-_OUTPUT_BITS, -128)
        return super().infer(operands)

    def evaluate(self, operands: Operands, x: Int64) -> Array:
        """See `Unary.evaluate`."""
        y = operands.output
        fixed, below, above = saturating_input(operands.input(0), x)
        scaled = rounding_shift_right(logistic(fixed, 4), 31 - _OUTPUT_BITS) - 128
        low, high = y.dtype.limits
        return saturate(np.select([below, above], [low, high], scaled), (low, high), y.dtype)
