"""SQUARED_DIFFERENCE: elementwise ``(a - b)**2``, int8 or int16, with broadcasting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array, DType
from toolchain.numerics import Int64, quantize_multiplier, requantize, saturate
from toolchain.ops.base import require
from toolchain.ops.binary import Binary, Elementwise

_LEFT_SHIFT = {DType.INT8: 7, DType.INT16: 0}  # so that the square has 32 bits


@dataclass(frozen=True)
class SquaredDifference(Binary):
    """``(a - b)**2`` of tensors of any scales.

    Specification: TensorFlow Lite Micro ``squared_difference.cc``: both inputs are brought to twice
    the larger scale, with seven bits behind the point for int8, and the square is requantised.
    """

    name: ClassVar[str] = "squared_difference"

    def scales(self, operands: Operands) -> tuple[tuple[int, int], ...]:
        """Return multipliers and shifts of a, b and the square."""
        a, b, y = operands.input(0), operands.input(1), operands.output
        common = 2 * max(a.scale, b.scale)
        square = common**2 / (2.0 ** (2 * _LEFT_SHIFT[y.dtype]) * y.scale)
        scales = tuple(quantize_multiplier(s) for s in (a.scale / common, b.scale / common, square))
        require(scales[2][1] <= 0, self, "the output's scale is too fine for the inputs'")
        return scales

    def evaluate(self, operands: Operands, a: Int64, b: Int64) -> Array:
        """See `Binary.evaluate`."""
        y, scales = operands.output, self.scales(operands)
        left, right = (
            requantize((values - operands.input(i).zero_point) << _LEFT_SHIFT[y.dtype], *scales[i])
            for i, values in enumerate((a, b))
        )
        made = requantize((left - right) ** 2, *scales[2]) + y.zero_point
        return saturate(made, y.dtype.limits, y.dtype)

    def element(self, operands: Operands) -> Elementwise:
        """See `Binary.element`."""
        y, scales = operands.output, self.scales(operands)
        return Elementwise(
            "squared_difference",
            {
                "zero": (operands.input(0).zero_point, operands.input(1).zero_point),
                "scale": scales[:2],
                "left_shift": _LEFT_SHIFT[y.dtype],
                "y_scale": scales[2],
                "y_zero": y.zero_point,
                "y_min": y.dtype.limits[0],
                "y_max": y.dtype.limits[1],
            },
        )
