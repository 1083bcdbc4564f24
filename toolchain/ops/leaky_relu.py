"""LEAKY_RELU: x where positive, ``alpha * x`` elsewhere, int8."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array
from toolchain.numerics import Int64, quantize_multiplier, requantize, saturate
from toolchain.ops.unary import Unary


@dataclass(frozen=True)
class LeakyRelu(Unary):
    """Leaky ReLU of int8 x with slope ``alpha`` (any sign) below zero.

    Specification: TensorFlow Lite ``reference_ops::QuantizeLeakyRelu``.
    """

    name: ClassVar[str] = "leaky_relu"
    alpha: float = 0.2

    def evaluate(self, operands: Operands, x: Int64) -> Array:
        """See `Unary.evaluate`."""
        source, y = operands.input(0), operands.output
        ratio = source.scale / y.scale
        slope = source.scale * float(np.float32(self.alpha)) / y.scale
        centred = x - source.zero_point
        # Ties of a negative slope go towards zero: the product is rounded before it is negated.
        leaked = requantize(centred, *quantize_multiplier(abs(slope))) * (1 if slope > 0 else -1)
        scaled = np.where(centred >= 0, requantize(centred, *quantize_multiplier(ratio)), leaked)
        return saturate(scaled + y.zero_point, y.dtype.limits, y.dtype)
