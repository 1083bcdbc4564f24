"""FULLY_CONNECTED: a matrix product with constant weights, int8."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array, DType
from toolchain.numerics import (
    Activation,
    Int64,
    clamp_range,
    quantize_multipliers,
    saturate,
)
from toolchain.ops.base import Lowered, Number, Op, TensorType, require
from toolchain.ops.nibbles import pack_nibbles
from toolchain.ops.weighted import (
    EITHER_BIAS,
    bias_values,
    float32_product,
    output_multipliers,
    output_numbers,
    require_weighted,
    rescale,
    weight_zero_points,
)
from toolchain.ops.wide import wide_stage
from toolchain.ops.window import IDENTITY, Whole, Window, whole


@dataclass(frozen=True)
class FullyConnected(Op):
    """Product of x (..., I) with weights (O, I), plus bias (O,).

    The output is (rows, O), or (..., O) with ``keep_dims``. Without ``keep_dims`` x may have any
    shape whose size is a multiple of I.
    Specification: TensorFlow Lite 8-bit quantisation specification, FULLY_CONNECTED.
    """

    name: ClassVar[str] = "fully_connected"
    activation: Activation = Activation.NONE
    keep_dims: bool = False

    def infer(self, operands: Operands) -> tuple[TensorType, ...]:
        """See `Op.infer`."""
        x, weights = operands.input(0), operands.input(1)
        require(len(weights.shape) == 2, self, "weights must be (outputs, inputs)")
        units, depth = weights.shape
        require(x.size % depth == 0, self, f"{x.size} inputs are no multiple of {depth}")
        dtype = require_weighted(self, operands, units, EITHER_BIAS)
        if not self.keep_dims:
            return (TensorType((x.size // depth, units), dtype),)
        require(x.shape[-1:] == (depth,), self, f"the last axis of x must have {depth} elements")
        return (TensorType((*x.shape[:-1], units), dtype),)

    def reference(self, operands: Operands, values: Sequence[Array | None]) -> tuple[Array, ...]:
        """See `Op.reference`."""
        x, weights, y = operands.input(0), operands.input(1), operands.output
        units, depth = weights.shape
        # float64 products of 9-bit integers are exact, and a matrix product is fast.
        centred = np.asarray(values[0], dtype=np.float64).reshape(-1, depth) - x.zero_point
        matrix = weights.values.astype(np.float64) - weight_zero_points(weights).reshape(-1, 1)
        acc = (centred @ matrix.T).astype(np.int64) + bias_values(operands.optional(2), units)
        scaled = rescale(acc, *_multipliers(operands), operands) + y.zero_point
        return (saturate(scaled, clamp_range(self.activation, y), y.dtype).reshape(y.shape),)

    def macs(self, operands: Operands) -> int:
        """See `Op.macs`."""
        return operands.input(0).size * operands.input(1).shape[0]

    def windows(self, operands: Operands) -> tuple[Window, ...]:
        """See `Op.windows`."""
        x, depth = operands.input(0), operands.input(1).shape[1]
        if x.shape[-1:] != (depth,) or len(x.shape) != len(operands.output.shape):
            return (whole(x.shape),)
        return (Window((*(IDENTITY,) * (len(x.shape) - 1), Whole(depth))),)

    def lower(self, operands: Operands) -> Lowered:
        """See `Op.lower`."""
        units, depth = operands.input(1).shape
        weights, scales = operands.input(1), _multipliers(operands)
        multiplier, shift = scales
        geometry: dict[str, Number] = {
            "rows": operands.input(0).size // depth,
            "depth": depth,
            "units": units,
            "per_channel": len(multiplier) > 1,
        }
        if operands.input(0).dtype is DType.INT16:
            numbers, tables = wide_stage(operands, self.activation, weights.values, scales)
            tables = {"weights": weights.values, **tables}
            return Lowered("fully_connected_16x8", {**geometry, **numbers}, tables, in_order=True)
        packed = weights.dtype is DType.INT4
        return Lowered(
            "fully_connected_w4" if packed else "fully_connected",
            {**geometry, **output_numbers(operands, self.activation)},
            {
                "weights": pack_nibbles(weights.values) if packed else weights.values,
                "bias": bias_values(operands.optional(2), units).astype(np.int32),
                "multiplier": multiplier.astype(np.int32),
                "shift": shift.astype(np.int8),
            },
            in_order=True,
        )

    def fold(self, operands: Operands) -> Lowered | None:
        """See `Op.fold`: a vector that is a map of several rows, each with its part of weights."""
        x, weights = operands.input(0), operands.input(1)
        units, depth = weights.shape
        integers = x.dtype is DType.INT8 and weights.dtype is DType.INT8
        flat = not self.keep_dims and len(x.shape) == 4 and x.shape[0] == 1 and x.size == depth
        if not integers or not flat or x.shape[1] == 1:
            return None
        numbers = output_numbers(operands, self.activation)
        values, zeros = weights.values.astype(np.int64), weight_zero_points(weights).reshape(-1, 1)
        start = bias_values(operands.optional(2), units) - x.zero_point * (values - zeros).sum(1)
        # Products, and what is taken off for the weights' zero point, are summed apart.
        if (np.abs(start) + 128 * (np.abs(values) + np.abs(zeros)).sum(1)).max() >= 2**31:
            return None
        multiplier, shift = _multipliers(operands)
        sizes = {"rows": x.shape[1], "depth": depth // x.shape[1], "units": units}
        return Lowered(
            "fully_connected_fold",
            {**numbers, **sizes, "per_channel": len(multiplier) > 1},
            {
                "weights": weights.values,
                "start": start.astype(np.int32),
                "multiplier": multiplier.astype(np.int32),
                "shift": shift.astype(np.int8),
            },
            scratch_bytes=4 * units,
        )


def _multipliers(operands: Operands) -> tuple[Int64, Int64]:
    """Return multiplier and shift: one of each for per-tensor weights, else one per output.

    For a per-tensor scale TFLite multiplies the input's and the weights' scales in float32, unlike
    in convolutions and for per-channel scales, where the product is in double precision.
    """
    x, weights, y = operands.input(0), operands.input(1), operands.output
    if weights.quant is not None and len(weights.quant.scales) > 1:
        return output_multipliers(x, weights, y, weights.shape[0])
    return quantize_multipliers([float32_product(x, weights) / y.scale])
