"""16x8 weighted operators in C: how their sums are kept and brought to the output.

Three ways, chosen from what the weights can reach: ``high`` where sums fit 32 bits and the high
word of one product is the output, ``wide`` for any sums of 64 bits, ``narrow`` for 32-bit biases,
whose sums are requantised like those of int8.
"""

from __future__ import annotations

import numpy as np

from toolchain.errors import ModelError
from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array, DType
from toolchain.numerics import Activation, Int64, clamp_range, reduce_multiplier
from toolchain.ops.base import Number
from toolchain.ops.nibbles import NIBBLES, pack_nibbles
from toolchain.ops.weighted import (
    bias_values,
    output_multipliers,
    output_numbers,
    output_tables,
    sums_are_wide,
)

_LARGEST = 2**15  # of an activation
_WIDE = {
    "conv2d": "conv2d_16x8",
    "depthwise_conv2d": "depthwise_conv2d_16x8",
    "transpose_conv": "transpose_conv_16x8",
}
_MOST_LEFT = 7  # bits by which TFLite shifts sums of 64 bits left


def wide_stage(
    operands: Operands, activation: Activation, filters: Array, scales: tuple[Int64, Int64]
) -> tuple[dict[str, Number], dict[str, Array]]:
    """Return literals and tables of the output stage.

    Args:
        operands: the node's tensors.
        activation: fused into the output.
        filters: shape (N, K), the weights of every output channel.
        scales: multipliers and shifts, one of each or one per channel.
    """
    multiplier, shift = scales
    legal = not sums_are_wide(operands) or int(shift.max()) <= _MOST_LEFT
    if not legal:
        raise ModelError("E206", f"the output's scale is over {2**_MOST_LEFT} times too fine")
    bias = bias_values(operands.optional(2), len(filters))
    reach = int((np.abs(filters.astype(np.int64)).sum(1) * _LARGEST + np.abs(bias)).max())
    low, high = clamp_range(activation, operands.output)
    tables: dict[str, Array] = {"multiplier": multiplier.astype(np.int32)}
    mode, total = "narrow", 15 - shift
    if sums_are_wide(operands):
        reduced = reduce_multiplier(multiplier)
        up = np.where(reduced > 0, 32 - total, 0)
        mode = "high" if reach < 2**31 and up.min() >= 0 and up.max() <= 16 else "wide"
        scaled = (reduced << np.maximum(up, 0)).astype(np.int32)
        tables["multiplier"] = scaled if mode == "high" else reduced.astype(np.int16)
    if mode != "high":
        tables["shift"] = (total if mode == "wide" else shift).astype(np.int8)
    fits = reach < 2**31
    tables = {"bias": bias.astype(np.int64 if mode == "wide" else np.int32), **tables}
    numbers: dict[str, Number] = {
        "mode": mode,
        "sum_bits": 32 if fits else 64,
        "per_channel": len(multiplier) > 1,
        "y_min": low,
        "y_max": high,
    }
    return numbers, tables


def output_stage(
    kernel: str, operands: Operands, activation: Activation, filters: Array
) -> tuple[str, dict[str, Number], dict[str, Array]]:
    """Return a convolution's kernel for its types, and literals and tables of its output stage.

    Args:
        kernel: name of the kernel of int8 activations.
        operands: the node's tensors.
        activation: fused into the output.
        filters: shape (N, K), the weights of every output channel.
    """
    x, weights, y = operands.input(0), operands.input(1), operands.output
    channels = len(filters)
    if x.dtype is not DType.INT16:
        numbers, tables = output_numbers(operands, activation), output_tables(operands, channels)
        if weights.dtype is not DType.INT4:
            return kernel, numbers, tables
        return NIBBLES[kernel], numbers, {**tables, "weights": pack_nibbles(filters)}
    scales = output_multipliers(x, weights, y, channels)
    numbers, tables = wide_stage(operands, activation, filters, scales)
    return _WIDE[kernel], numbers, {"weights": weights.values, **tables}
