"""ABS: the magnitude of an element, int8."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array
from toolchain.numerics import Int64, quantize_multiplier, requantize, saturate
from toolchain.ops.unary import Unary


@dataclass(frozen=True)
class Abs(Unary):
    """``|x|``, requantised: TensorFlow Lite Micro ``AbsEvalQuantized`` (``elementwise.cc``)."""

    name: ClassVar[str] = "abs"

    def evaluate(self, operands: Operands, x: Int64) -> Array:
        """See `Unary.evaluate`."""
        source, y = operands.input(0), operands.output
        scaled = requantize(
            np.abs(x - source.zero_point), *quantize_multiplier(source.scale / y.scale)
        )
        return saturate(scaled + y.zero_point, y.dtype.limits, y.dtype)
