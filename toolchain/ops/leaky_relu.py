"""LEAKY_RELU: x where positive, ``alpha * x`` elsewhere, int8 or int16."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array, DType
from toolchain.numerics import Int64, quantize_multiplier, requantize, saturate
from toolchain.ops.base import Lowered, Number
from toolchain.ops.unary import Unary


@dataclass(frozen=True)
class LeakyRelu(Unary):
    """Leaky ReLU of x with slope ``alpha`` (any sign) below zero.

    Specification: TensorFlow Lite ``reference_ops::QuantizeLeakyRelu``.
    """

    name: ClassVar[str] = "leaky_relu"
    types: ClassVar[tuple[DType, ...]] = (DType.INT8, DType.INT16)
    alpha: float = 0.2

    def evaluate(self, operands: Operands, x: Int64) -> Array:
        """See `Unary.evaluate`."""
        source, y = operands.input(0), operands.output
        (ratio, slope), sign = self._multipliers(operands)
        centred = x - source.zero_point
        # Ties of a negative slope go towards zero: the product is rounded before it is negated.
        leaked = requantize(centred, *slope) * sign
        scaled = np.where(centred >= 0, requantize(centred, *ratio), leaked)
        return saturate(scaled + y.zero_point, y.dtype.limits, y.dtype)

    def lower(self, operands: Operands) -> Lowered:
        """See `Op.lower`."""
        if operands.output.dtype is not DType.INT16:
            return super().lower(operands)
        scales, sign = self._multipliers(operands)
        numbers: dict[str, Number] = {"size": operands.output.size, "scales": scales, "sign": sign}
        return Lowered("leaky_relu_16", numbers, in_order=True)

    def _multipliers(
        self, operands: Operands
    ) -> tuple[tuple[tuple[int, int], tuple[int, int]], int]:
        """Return multiplier and shift of positive and negative x, and the slope's sign."""
        source, y = operands.input(0), operands.output
        slope = source.scale * float(np.float32(self.alpha)) / y.scale
        scales = quantize_multiplier(source.scale / y.scale), quantize_multiplier(abs(slope))
        return scales, 1 if slope > 0 else -1
