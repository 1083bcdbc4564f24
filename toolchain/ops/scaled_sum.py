"""ADD and SUB: both inputs brought to one fine scale, summed, and scaled to the output.

Specification: TensorFlow Lite 8-bit quantisation specification, ADD; TensorFlow Lite
``reference_integer_ops::Add``. The common scale is ``2 * max(s_a, s_b)``, 20
bits finer for int8, 15 for int16.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, NamedTuple

import numpy as np

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
from toolchain.ops.affine import Affine, fit_affine
from toolchain.ops.base import Number, require
from toolchain.ops.binary import Binary, Elementwise

LEFT_SHIFT = {DType.INT8: 20, DType.INT16: 15}


class SumNumbers(NamedTuple):
    """The integers of one sum: what `ScaledSum` means, without its tensors.

    Attributes:
        sign: of the second input.
        left_shift: bits by which the common scale is finer.
        zero: zero points of the inputs.
        scale: multiplier and shift of each input.
        y_zero: zero point of the output.
        y_scale: multiplier and shift of the sum.
        y_min: least output.
        y_max: greatest output.
    """

    sign: int
    left_shift: int
    zero: tuple[int, int]
    scale: tuple[tuple[int, int], tuple[int, int]]
    y_zero: int
    y_scale: tuple[int, int]
    y_min: int
    y_max: int

    def scaled(self, index: int, values: Int64) -> Int64:
        """Return values of an input on the common scale."""
        return requantize((values - self.zero[index]) << self.left_shift, *self.scale[index])

    def evaluate(self, a: Int64, b: Int64) -> Int64:
        """Return the output values, not yet clamped."""
        total = self.scaled(0, a) + self.sign * self.scaled(1, b)
        return requantize(total, *self.y_scale) + self.y_zero


@lru_cache(maxsize=1024)
def linear_form(numbers: SumNumbers) -> Affine | None:
    """Return the same function of int8 inputs as one linear form, if there is one."""
    unit = 2.0**numbers.left_shift * _real(numbers.y_scale)
    slope_a, slope_b = (_real(scale) * unit for scale in numbers.scale)
    slopes = (slope_a, slope_b * numbers.sign)
    centre = numbers.y_zero - slopes[0] * numbers.zero[0] - slopes[1] * numbers.zero[1]
    return fit_affine(numbers.evaluate, slopes, centre, (numbers.y_min, numbers.y_max))


@dataclass(frozen=True)
class ScaledSum(Binary):
    """Sum or difference of two int8 or int16 tensors of any scales, then a fused activation."""

    sign: ClassVar[int]
    activation: Activation = Activation.NONE

    def sum_numbers(self, operands: Operands) -> SumNumbers:
        """Return the integers of this sum."""
        a, b, y = operands.input(0), operands.input(1), operands.output
        left_shift = LEFT_SHIFT[y.dtype]
        common = 2 * max(a.scale, b.scale)
        scale_y = quantize_multiplier(common / (2**left_shift * y.scale))
        require(scale_y[1] <= 0, self, "the output's scale is too fine for the inputs'")
        low, high = clamp_range(self.activation, y)
        return SumNumbers(
            self.sign,
            left_shift,
            (a.zero_point, b.zero_point),
            (quantize_multiplier(a.scale / common), quantize_multiplier(b.scale / common)),
            y.zero_point,
            scale_y,
            low,
            high,
        )

    def evaluate(self, operands: Operands, a: Int64, b: Int64) -> Array:
        """See `Binary.evaluate`."""
        numbers = self.sum_numbers(operands)
        total = numbers.evaluate(a, b)
        return saturate(total, (numbers.y_min, numbers.y_max), operands.output.dtype)

    def element(self, operands: Operands) -> Elementwise:
        """See `Binary.element`: a constant that is repeated is stored scaled."""
        numbers = self.sum_numbers(operands)
        repeated = {
            i: x.values.astype(np.int64)
            for i, x in enumerate((operands.input(0), operands.input(1)))
            if x.is_constant and x.size < operands.output.size
        }
        form = linear_form(numbers) if operands.output.dtype is DType.INT8 else None
        return _linear(numbers, form, repeated) if form else _two_stages(numbers, repeated)


def _linear(numbers: SumNumbers, form: Affine, repeated: Mapping[int, Int64]) -> Elementwise:
    literals: dict[str, Number] = {
        **form._asdict(),
        # Of a prepared constant the table holds products: kernels that differ in it alone are one.
        "slopes": tuple(0 if i in repeated else slope for i, slope in enumerate(form.slopes)),
        "prepared": tuple(i in repeated for i in range(2)),
        "y_min": numbers.y_min,
        "y_max": numbers.y_max,
    }
    tables = {i: (form.slopes[i] * x).astype(np.int32) for i, x in repeated.items()}
    return Elementwise("affine", literals, tables)


def _two_stages(numbers: SumNumbers, repeated: Mapping[int, Int64]) -> Elementwise:
    literals = {**numbers._asdict(), "prepared": tuple(i in repeated for i in range(2))}
    tables = {i: (2 * numbers.scaled(i, x)).astype(np.int32) for i, x in repeated.items()}
    return Elementwise("add", literals, tables)


def _real(scale: tuple[int, int]) -> float:
    multiplier, shift = scale
    return float(multiplier * 2.0 ** (shift - 31))
