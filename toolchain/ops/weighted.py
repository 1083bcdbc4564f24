"""What convolutions and fully connected layers share: requantised sums of products.

With int8 activations sums have 32 bits, with int16 activations (16x8) 64 bits, unless the bias of a
convolution has 32: then the sums have 32 bits as well and are requantised as those of int8.
"""

from __future__ import annotations

import numpy as np

from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array, DType, Tensor
from toolchain.numerics import (
    Activation,
    Int64,
    clamp_range,
    quantize_multipliers,
    requantize,
    requantize_wide,
    saturate,
)
from toolchain.ops.base import Number, Op, require

EITHER_BIAS = (DType.INT64, DType.INT32)


def require_weighted(
    op: Op, operands: Operands, channels: int, biases: tuple[DType, ...] = (DType.INT64,)
) -> DType:
    """Return the output's type; raise E206 unless types, zero points and bias are legal.

    Args:
        op: the operator.
        operands: the node's tensors.
        channels: of the output.
        biases: legal types of the bias beside int16 activations.
    """
    x, weights, bias = operands.input(0), operands.input(1), operands.optional(2)
    require(weights.is_constant, op, "weights must be constant")
    require(weights.dtype in (DType.INT8, DType.INT4), op, "weights must be int8 or int4")
    require(x.dtype in (DType.INT8, DType.INT16), op, "x must be int8 or int16")
    require(bias is None or bias.shape == (channels,), op, f"bias must be ({channels},)")
    if x.dtype is DType.INT8:
        require(bias is None or bias.dtype is not DType.INT64, op, "bias must be int32")
        return x.dtype
    require(weights.dtype is DType.INT8, op, "with int16 activations weights must be int8")
    require(bias is None or bias.dtype in biases, op, f"bias must be {biases[0].value}")
    tensors = (x, weights, *operands.outputs)
    zeros = (zero for t in tensors if t.quant for zero in t.quant.zero_points)
    require(not any(zeros), op, "with int16 activations all zero points must be 0")
    return x.dtype


def sums_are_wide(operands: Operands) -> bool:
    """Tell whether products are summed in 64 bits."""
    bias = operands.optional(2)
    narrow = bias is not None and bias.dtype is DType.INT32
    return operands.input(0).dtype is DType.INT16 and not narrow


def rescale(acc: Array, multiplier: Array, shift: Array, operands: Operands) -> Int64:
    """Return accumulators with their bias, requantised."""
    if sums_are_wide(operands):
        return requantize_wide(acc, multiplier, shift)
    wrapped = ((acc.astype(np.int64) + 2**31) & (2**32 - 1)) - 2**31
    return requantize(wrapped, multiplier, shift)


def output_multipliers(x: Tensor, weights: Tensor, y: Tensor, channels: int) -> tuple[Int64, Int64]:
    """Return multiplier and shift of every output channel, ``s_x * s_w / s_y``.

    TFLite computes the product in double precision from float32 scales, but in float32 for weights
    with a zero point, which only legacy uint8 files have. A per-tensor weight scale is repeated for
    all channels.
    """
    scales = weights.quant.scales if weights.quant else ()
    products = [x.scale * scale for scale in scales]
    if weight_zero_points(weights).any():
        products = [float32_product(x, weights)]
    if len(products) == 1:
        products = products * channels
    return quantize_multipliers(product / y.scale for product in products)


def float32_product(x: Tensor, weights: Tensor) -> float:
    """Return ``s_x * s_w`` rounded to float32, as TFLite does where weights have one scale."""
    return float(np.float32(x.scale) * np.float32(weights.scale))


def weight_zero_points(weights: Tensor) -> Int64:
    """Return the weights' zero points, one or one per channel (all 0 but in legacy files)."""
    points = weights.quant.zero_points if weights.quant else (0,)
    return np.array(points if any(points) else (0,), dtype=np.int64)


def bias_values(bias: Tensor | None, channels: int) -> Int64:
    """Return the bias of every output channel, zeros when absent."""
    return np.zeros(channels, np.int64) if bias is None else bias.values.astype(np.int64)


def finish(acc: Array, operands: Operands, activation: Activation, channels: int) -> Array:
    """Add the bias to ``acc`` (..., channels), requantise, add the zero point and clamp."""
    x, weights, y = operands.input(0), operands.input(1), operands.output
    multiplier, shift = output_multipliers(x, weights, y, channels)
    summed = acc.astype(np.int64) + bias_values(operands.optional(2), channels)
    scaled = rescale(summed, multiplier, shift, operands) + y.zero_point
    return saturate(scaled, clamp_range(activation, y), y.dtype)


def output_numbers(operands: Operands, activation: Activation) -> dict[str, Number]:
    """Return the literals of the output stage of a weighted kernel."""
    x, weights, y = operands.input(0), operands.input(1), operands.output
    low, high = clamp_range(activation, y)
    return {
        "x_zero": x.zero_point,
        "w_zero": int(weight_zero_points(weights)[0]),
        "y_zero": y.zero_point,
        "y_min": low,
        "y_max": high,
    }


def output_tables(operands: Operands, channels: int) -> dict[str, Array]:
    """Return weights, bias, multipliers and shifts as the portable kernels read them."""
    x, weights, y = operands.input(0), operands.input(1), operands.output
    multiplier, shift = output_multipliers(x, weights, y, channels)
    return {
        "weights": weights.values,
        "bias": bias_values(operands.optional(2), channels).astype(np.int32),
        "multiplier": multiplier.astype(np.int32),
        "shift": shift.astype(np.int8),
    }
