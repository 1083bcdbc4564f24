"""What convolutions and fully connected layers share: requantised sums of products."""

from __future__ import annotations

import numpy as np

from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array, Tensor
from toolchain.numerics import (
    Activation,
    Int64,
    clamp_range,
    quantize_multipliers,
    requantize,
    saturate,
)
from toolchain.ops.base import Number


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
    scaled = requantize(summed, multiplier, shift) + y.zero_point
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
