"""RELU, RELU6, RELU_N1_TO_1 as operators of their own, int8."""

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
from toolchain.ops.unary import Unary


@dataclass(frozen=True)
class Relu(Unary):
    """Rescale int8 x to the output's quantisation, then clamp to the range of ``activation``.

    Specification: TensorFlow Lite ``reference_ops::ReluX``. TFLite Micro's RELU6 takes the scales
    of input and output to be equal; where they are, this is the same.
    """

    name: ClassVar[str] = "relu"
    activation: Activation = Activation.RELU

    def evaluate(self, operands: Operands, x: Int64) -> Array:
        """See `Unary.evaluate`."""
        source, y = operands.input(0), operands.output
        multiplier, shift = quantize_multiplier(source.scale / y.scale)
        scaled = requantize(x - source.zero_point, multiplier, shift) + y.zero_point
        return saturate(scaled, clamp_range(self.activation, y), y.dtype)
