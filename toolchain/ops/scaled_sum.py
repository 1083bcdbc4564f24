"""ADD and SUB of int8: both inputs brought to one fine scale, summed, and scaled to the output.

Specification: TensorFlow Lite 8-bit quantisation specification, ADD; TensorFlow Lite
``reference_integer_ops::Add``. The common scale is ``2 * max(s_a, s_b)``, 20 bits finer for int8.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array, DType, Tensor
from toolchain.numerics import Activation, Int64, clamp_range, quantize_multiplier, requantize
from toolchain.numerics import saturate as clamp
from toolchain.ops.base import require
from toolchain.ops.binary import Binary, Elementwise

LEFT_SHIFT = {DType.INT8: 20}


class Scales(NamedTuple):
    """Multiplier and shift of both inputs and of the sum."""

    a: tuple[int, int]
    b: tuple[int, int]
    out: tuple[int, int]


@dataclass(frozen=True)
class ScaledSum(Binary):
    """Sum or difference of two int8 tensors of any scales, then a fused activation."""

    sign: ClassVar[int]
    activation: Activation = Activation.NONE

    @abstractmethod
    def real_scales(self, a: Tensor, b: Tensor, y: Tensor) -> tuple[float, float, float]:
        """Return the real multipliers of both inputs and of the sum."""

    def scales(self, operands: Operands) -> Scales:
        """Return the fixed-point multipliers."""
        reals = self.real_scales(operands.input(0), operands.input(1), operands.output)
        scales = Scales(*(quantize_multiplier(real) for real in reals))
        require(scales.out[1] <= 0, self, "the output's scale is too fine for the inputs'")
        return scales

    def evaluate(self, operands: Operands, a: Int64, b: Int64) -> Array:
        """See `Binary.evaluate`."""
        y = operands.output
        scales = self.scales(operands)
        left = self._scaled(operands.input(0), a, scales.a)
        right = self._scaled(operands.input(1), b, scales.b)
        total = requantize(left + self.sign * right, *scales.out) + y.zero_point
        return clamp(total, clamp_range(self.activation, y), y.dtype)

    def element(self, operands: Operands) -> Elementwise:
        """See `Binary.element`: a constant that is repeated is stored scaled."""
        y, scales = operands.output, self.scales(operands)
        inputs = (operands.input(0), operands.input(1))
        pairs = tuple(zip(inputs, scales[:2], strict=True))
        prepared = [x.is_constant and x.size < y.size for x in inputs]
        low, high = clamp_range(self.activation, y)
        return Elementwise(
            "add",
            {
                "sign": self.sign,
                "left_shift": LEFT_SHIFT[y.dtype],
                "zero": tuple(x.zero_point for x in inputs),
                "scale": scales[:2],
                "prepared": tuple(prepared),
                "y_scale": scales.out,
                "y_zero": y.zero_point,
                "y_min": low,
                "y_max": high,
            },
            {
                i: (2 * self._scaled(x, x.values.astype(np.int64), scale)).astype(np.int32)
                for i, (x, scale) in enumerate(pairs)
                if prepared[i]
            },
        )

    def _scaled(self, x: Tensor, values: Int64, scale: tuple[int, int]) -> Int64:
        return requantize((values - x.zero_point) << LEFT_SHIFT[x.dtype], *scale)
