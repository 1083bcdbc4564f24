"""MUL: elementwise product, int8, with broadcasting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array
from toolchain.numerics import (
    Activation,
    Int64,
    clamp_range,
    quantize_multiplier,
    requantize,
    saturate,
)
from toolchain.ops.binary import Binary, Elementwise


@dataclass(frozen=True)
class Mul(Binary):
    """``a * b`` of int8 tensors of any scales, then a fused activation.

    Specification: TensorFlow Lite 8-bit quantisation specification, MUL.
    """

    name: ClassVar[str] = "mul"
    activation: Activation = Activation.NONE

    def scale(self, operands: Operands) -> tuple[int, int]:
        """Return multiplier and shift of the product, ``s_a * s_b / s_y``."""
        a, b, y = operands.input(0), operands.input(1), operands.output
        return quantize_multiplier(a.scale * b.scale / y.scale)

    def evaluate(self, operands: Operands, a: Int64, b: Int64) -> Array:
        """See `Binary.evaluate`."""
        y = operands.output
        product = (a - operands.input(0).zero_point) * (b - operands.input(1).zero_point)
        scaled = requantize(product, *self.scale(operands)) + y.zero_point
        return saturate(scaled, clamp_range(self.activation, y), y.dtype)

    def element(self, operands: Operands) -> Elementwise:
        """See `Binary.element`."""
        y = operands.output
        low, high = clamp_range(self.activation, y)
        return Elementwise(
            "mul",
            {
                "zero": (operands.input(0).zero_point, operands.input(1).zero_point),
                "y_scale": self.scale(operands),
                "y_zero": y.zero_point,
                "y_min": low,
                "y_max": high,
            },
        )
