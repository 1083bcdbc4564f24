"""SOFTMAX over the last axis, int8, int16 or float32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from toolchain import floating_point
from toolchain.fixed_point import exp_on_negative_values, leading_zeros, reciprocal
from toolchain.floating_point import Float32
from toolchain.interpolated import exp_table, look_up, reciprocal_table
from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array, DType, Tensor
from toolchain.numerics import (
    Int64,
    doubling_high_multiply,
    quantize_multiplier,
    requantize,
    rounding_shift_right,
    saturate,
)
from toolchain.ops.base import Lowered, Number, Op, TensorType, require, require_integers
from toolchain.ops.saturating import softmax_scaling
from toolchain.ops.unary import require_output
from toolchain.ops.window import IDENTITY, Whole, Window

SUM_BITS = 12  # sums of exponentials are Q12
MAX_DEPTH = 2**SUM_BITS - 1


@dataclass(frozen=True)
class Softmax(Op):
    """``exp(beta * x) / sum(exp(beta * x))``; of int8 x with output scale 1/256, zero point -128.

    Or, of int8 x, int16 with scale 1/65536 and zero point -32768; of int16 x, in which tables are
    interpolated (`toolchain.interpolated`), int16 with scale 1/32768 and zero point 0.

    The exponential of int8 depends only on the difference to the row's maximum, one of 256 values,
    so the C reads it from a table. Specification: TensorFlow Lite 8-bit quantisation specification,
    SOFTMAX; fixed point as in gemmlowp, differences in Q5.26. In float32, at the edge of a network,
    it is TFLite's ``reference_ops::Softmax``: every step rounded to float32, sums from the left.
    """

    name: ClassVar[str] = "softmax"
    beta: float = 1.0

    def infer(self, operands: Operands) -> tuple[TensorType, ...]:
        """See `Op.infer`."""
        x = operands.input(0)
        if x.dtype is DType.FLOAT32:
            require(0 <= self.beta < np.inf, self, "beta must be finite and not negative")
            return float_rows(self, x)
        if x.dtype is DType.INT16:
            require_integers(self, x)
            require(len(x.shape) > 0 and x.shape[-1] < 2**15, self, "rows of 1 to 32767 are needed")
            _require_near(self, operands, 2.0**-15, 0)
            return (TensorType(x.shape, DType.INT16),)
        require_rows(self, x, self.beta)
        (y,) = operands.outputs
        if y.dtype is DType.INT16:
            _require_near(self, operands, 2.0**-16, -(2**15))
            return (TensorType(x.shape, DType.INT16),)
        require_output(self, operands, 2.0**-8, -128)
        return (TensorType(x.shape, DType.INT8),)

    def reference(self, operands: Operands, values: Sequence[Array | None]) -> tuple[Array, ...]:
        """See `Op.reference`."""
        y = operands.output
        if y.dtype is DType.FLOAT32:
            return (self._real(np.asarray(values[0], dtype=np.float32)),)
        if operands.input(0).dtype is DType.INT16:
            return (self._interpolated(operands, np.asarray(values[0], dtype=np.int64)),)
        differences = row_differences(np.asarray(values[0]))
        powers = exponentials(operands.input(0), self.beta)[differences]
        total = rounding_shift_right(powers, SUM_BITS).sum(axis=-1, keepdims=True)
        scale, exponent = reciprocal(total, SUM_BITS)
        bits = 8 * y.dtype.itemsize
        product = doubling_high_multiply(scale, powers)
        scaled = rounding_shift_right(product, exponent + 31 - bits)
        return (saturate(scaled - 2 ** (bits - 1), y.dtype.limits, y.dtype),)

    def windows(self, operands: Operands) -> tuple[Window, ...]:
        """See `Op.windows`."""
        return (last_axis(operands.input(0)),)

    def lower(self, operands: Operands) -> Lowered:
        """See `Op.lower`."""
        x = operands.input(0)
        depth = x.shape[-1]
        numbers: dict[str, Number] = {"rows": x.size // depth, "depth": depth}
        if x.dtype is DType.FLOAT32:
            numbers["beta"] = float(np.float32(self.beta))
            return Lowered("softmax_float", numbers, in_order=True)
        if x.dtype is DType.INT16:
            multiplier, shift = self._scaling(x)
            numbers.update(multiplier=multiplier, shift=shift)
            tables = {"powers": exp_table(), "reciprocals": reciprocal_table()}
            tables16 = {name: table.astype(np.int16) for name, table in tables.items()}
            return Lowered("softmax_16", numbers, tables16, in_order=True)
        numbers["bits"] = 8 * operands.output.dtype.itemsize
        table = exponentials(x, self.beta).astype(np.int32)
        return Lowered("softmax", numbers, {"powers": table}, in_order=True)

    def _scaling(self, x: Tensor) -> tuple[int, int]:
        """Return multiplier and shift that bring differences to 10/65535."""
        return quantize_multiplier(x.scale * float(np.float32(self.beta)) / (10.0 / 65535.0))

    def _interpolated(self, operands: Operands, x: Int64) -> Array:
        below = requantize(x - x.max(axis=-1, keepdims=True), *self._scaling(operands.input(0)))
        powers = look_up(np.clip(below, -65535, 0) + 32767, exp_table())
        total = powers.sum(axis=-1, keepdims=True)
        zeros = leading_zeros(total)
        mantissa = ((total << (zeros - 1)) + (1 << 13)) >> 14
        place = np.clip(mantissa - 98304, *DType.INT16.limits)
        scaled = powers * look_up(place, reciprocal_table())
        shift = 31 - zeros
        return saturate((scaled + (1 << (shift - 1))) >> shift, (0, 2**15 - 1), DType.INT16)

    def _real(self, x: Float32) -> Float32:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            powers = floating_point.exp(below_maximum(x) * np.float32(self.beta))
            result: Float32 = powers / sum_from_left(powers)
        return result


def _require_near(op: Op, operands: Operands, scale: float, zero_point: int) -> None:
    """Raise E206 unless the output's quantisation is this one, with TFLite Micro's tolerance."""
    for quant in (tensor.quant for tensor in operands.outputs):
        near = quant is None or (
            abs(quant.scale - scale) <= 1e-3 * scale and quant.zero_point == zero_point
        )
        require(near, op, f"the output needs scale {scale:g} and zero point {zero_point}")


def require_rows(op: Op, x: Tensor, beta: float) -> None:
    """Raise E206 unless the fixed point has room for rows of ``x``, scaled by ``beta``."""
    require(x.dtype == DType.INT8 and len(x.shape) > 0, op, "x must be int8, rank 1 or more")
    require(x.shape[-1] <= MAX_DEPTH, op, f"rows may have at most {MAX_DEPTH} elements")
    require(beta * x.scale > 2.0**-26, op, "beta times x's scale must be over 2**-26")


def float_rows(op: Op, x: Tensor) -> tuple[TensorType]:
    """Return the type of rows of float32 ``x``; raise E206 if it has none."""
    require(len(x.shape) > 0, op, "x must have rank 1 or more")
    return (TensorType(x.shape, DType.FLOAT32),)


def below_maximum(x: Float32) -> Float32:
    """Return each element less its row's maximum."""
    difference: Float32 = x - x.max(axis=-1, keepdims=True)
    return difference


def sum_from_left(x: Float32) -> Float32:
    """Return the sum of every row, one float32 addition after the other."""
    total: Float32 = np.add.accumulate(x, axis=-1)[..., -1:]
    return total


def row_differences(x: Array) -> Int64:
    """Return how far each element is below its row's maximum, 0 to 255."""
    wide = x.astype(np.int64)
    differences: Int64 = wide.max(axis=-1, keepdims=True) - wide
    return differences


def exponentials(x: Tensor, beta: float) -> Int64:
    """Return ``exp(-beta * scale * d)`` in Q0 for d = 0 to 255, 0 where it is negligible."""
    multiplier, shift, least = softmax_scaling(x.scale, beta)
    differences = -np.arange(256, dtype=np.int64)
    counted = np.where(differences >= least, differences, 0)
    powers = exp_on_negative_values(requantize(counted, multiplier, shift), 5)
    return np.where(differences >= least, powers, 0)


def last_axis(x: Tensor) -> Window:
    """Return the window of an operator that needs whole rows of ``x``."""
    return Window((*[IDENTITY] * (len(x.shape) - 1), Whole(x.shape[-1])))
