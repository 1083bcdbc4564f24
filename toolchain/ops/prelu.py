"""PRELU: x where positive, a slope times x elsewhere, int8 or int16, with broadcasting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array
from toolchain.numerics import Int64, quantize_multiplier, requantize, saturate
from toolchain.ops.binary import Binary, Elementwise


@dataclass(frozen=True)
class Prelu(Binary):
    """x where it is not negative, ``x * slope`` elsewhere; slopes are the second input.

    Specification: TensorFlow Lite ``reference_ops::BroadcastPrelu4DSlow`` on integers.
    """

    name: ClassVar[str] = "prelu"

    def evaluate(self, operands: Operands, a: Int64, b: Int64) -> Array:
        """See `Binary.evaluate`."""
        y, (ratio, slope) = operands.output, self._scales(operands)
        x, factor = (v - operands.input(i).zero_point for i, v in enumerate((a, b)))
        made = np.where(x >= 0, requantize(x, *ratio), requantize(x * factor, *slope))
        return saturate(made + y.zero_point, y.dtype.limits, y.dtype)

    def element(self, operands: Operands) -> Elementwise:
        """See `Binary.element`."""
        y = operands.output
        return Elementwise(
            "prelu",
            {
                "zero": (operands.input(0).zero_point, operands.input(1).zero_point),
                "scales": self._scales(operands),
                "y_zero": y.zero_point,
                "y_min": y.dtype.limits[0],
                "y_max": y.dtype.limits[1],
            },
        )

    def _scales(self, operands: Operands) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return multiplier and shift of positive x, and of products with slopes."""
        x, slopes, y = operands.input(0), operands.input(1), operands.output
        product = float(np.float32(x.scale) * np.float32(slopes.scale) / np.float32(y.scale))
        return quantize_multiplier(x.scale / y.scale), quantize_multiplier(product)
