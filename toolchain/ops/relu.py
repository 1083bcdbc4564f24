"""RELU, RELU6, RELU_N1_TO_1 as operators of their own, int8 or int16."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array, DType
from toolchain.numerics import (
    Activation,
    Int64,
    clamp_range,
    quantize_multiplier,
    requantize,
    saturate,
)
from toolchain.ops.base import Lowered, Number
from toolchain.ops.unary import Unary


@dataclass(frozen=True)
class Relu(Unary):
    """Rescale x to the output's quantisation, then clamp to the range of ``activation``.

    Specification: TensorFlow Lite ``reference_ops::ReluX``. TFLite Micro's RELU6 takes the scales
    of input and output to be equal; where they are, this is the same.
    """

    name: ClassVar[str] = "relu"
    types: ClassVar[tuple[DType, ...]] = (DType.INT8, DType.INT16)
    activation: Activation = Activation.RELU

    def evaluate(self, operands: Operands, x: Int64) -> Array:
        """See `Unary.evaluate`."""
        source, y = operands.input(0), operands.output
        multiplier, shift = quantize_multiplier(source.scale / y.scale)
        scaled = requantize(x - source.zero_point, multiplier, shift) + y.zero_point
        return saturate(scaled, clamp_range(self.activation, y), y.dtype)

    def lower(self, operands: Operands) -> Lowered:
        """See `Op.lower`."""
        x, y = operands.input(0), operands.output
        if y.dtype is not DType.INT16:
            return super().lower(operands)
        multiplier, shift = quantize_multiplier(x.scale / y.scale)
        low, high = clamp_range(self.activation, y)
        scaling: dict[str, Number] = {"multiplier": multiplier, "shift": shift}
        zeros: dict[str, Number] = {"x_zero": 0, "y_zero": 0, "y_min": low, "y_max": high}
        return Lowered("requantize", {"size": x.size, **scaling, **zeros}, in_order=True)
