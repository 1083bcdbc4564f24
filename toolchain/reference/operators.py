"""What every operator means for real numbers: float32 in, float32 out.

Operators that only move elements mean the same for any type; the others have a function here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np

from toolchain.errors import ModelError
from toolchain.ir import Array, Operands
from toolchain.numerics import Activation
from toolchain.ops import (
    Abs,
    Add,
    ArgMax,
    AveragePool2D,
    BatchMatMul,
    Concat,
    Conv2D,
    DepthwiseConv2D,
    Elu,
    Erf,
    Exp,
    FullyConnected,
    Function,
    Gather,
    Gelu,
    HardSwish,
    LayerNorm,
    LeakyRelu,
    Log,
    Logistic,
    LogSoftmax,
    Maximum,
    MaxPool2D,
    Mean,
    Minimum,
    Mul,
    Op,
    Pack,
    Pad,
    Prelu,
    ReduceMax,
    ReduceMin,
    Relu,
    Reshape,
    ResizeBilinear,
    ResizeNearest,
    Rsqrt,
    Softmax,
    Split,
    Sqrt,
    SquaredDifference,
    StridedSlice,
    Sub,
    Tanh,
    Transpose,
    TransposeConv,
    Unpack,
)
from toolchain.ops.layer_norm import real_values
from toolchain.ops.lookup import Lookup

_MOVES = (
    ArgMax, Concat, Gather, Pack, ReduceMax, ReduceMin, Reshape, ResizeNearest, Split,
    StridedSlice, Transpose, Unpack,
)  # fmt: skip

Values = Sequence[Array]
Meaning = Callable[[Any, Operands, Values], Array]


def evaluate(op: Op, operands: Operands, values: Sequence[Array | None]) -> tuple[Array, ...]:
    """Return the outputs of ``op`` for float32 ``values``.

    Raises:
        ModelError: E202 if the operator has no meaning for real numbers.
    """
    if isinstance(op, _MOVES):
        return op.reference(operands, values)
    function = FUNCTIONS.get(type(op))
    if function is None:
        raise ModelError("E202", f"{op.name} has no meaning in a float graph")
    result = function(op, operands, [value for value in values if value is not None])
    clamped = np.clip(result, *getattr(op, "activation", Activation.NONE).value)
    return (np.asarray(clamped, np.float32).reshape(operands.output.shape),)


def _conv2d(op: Conv2D, operands: Operands, values: Values) -> Array:
    x, weights, *bias = values
    out_c, _, _, in_c = weights.shape
    groups = x.shape[3] // in_c
    y = np.zeros((*operands.output.shape[:3], groups, out_c // groups), np.float32)
    for ky, kx, tap in op.sliding(operands).taps(x):
        grouped = tap.reshape(*tap.shape[:3], groups, 1, in_c)
        kernel = weights[:, ky, kx].reshape(groups, out_c // groups, in_c)
        if groups == 1:
            y[..., 0, :] += tap @ kernel[0].T
        else:
            y += (grouped @ kernel.swapaxes(1, 2))[..., 0, :]
    return _biased(y.reshape(operands.output.shape), bias)


def _depthwise_conv2d(op: DepthwiseConv2D, operands: Operands, values: Values) -> Array:
    x, weights, *bias = values
    repeated = np.repeat(x, weights.shape[3] // x.shape[3], axis=3)
    y = np.zeros(operands.output.shape, np.float32)
    for ky, kx, tap in op.sliding(operands).taps(repeated):
        y += tap * weights[0, ky, kx]
    return _biased(y, bias)


def _transpose_conv(op: TransposeConv, operands: Operands, values: Values) -> Array:
    x, weights, *bias = values
    (stride_h, stride_w), (top, _, left, _) = op.stride, op.pads
    _, kernel_h, kernel_w, _ = weights.shape
    batch, out_h, out_w, out_c = operands.output.shape
    reached_h = (x.shape[1] - 1) * stride_h + kernel_h
    reached_w = (x.shape[2] - 1) * stride_w + kernel_w
    # Outputs behind the last that an input reaches hold the bias alone.
    full = (batch, max(reached_h, top + out_h), max(reached_w, left + out_w), out_c)
    y = np.zeros(full, np.float32)
    for ky in range(kernel_h):
        for kx in range(kernel_w):
            rows = slice(ky, ky + (x.shape[1] - 1) * stride_h + 1, stride_h)
            columns = slice(kx, kx + (x.shape[2] - 1) * stride_w + 1, stride_w)
            y[:, rows, columns] += x @ weights[:, ky, kx].T
    return _biased(y[:, top : top + out_h, left : left + out_w], bias)


def _fully_connected(op: FullyConnected, operands: Operands, values: Values) -> Array:
    del op, operands
    x, weights, *bias = values
    return _biased(x.reshape(-1, weights.shape[1]) @ weights.T, bias)


def _batch_matmul(op: BatchMatMul, operands: Operands, values: Values) -> Array:
    del operands
    return op.product(values[0], values[1])


def _layer_norm(op: LayerNorm, operands: Operands, values: Values) -> Array:
    x = values[0].astype(np.float64)
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = np.square(centred).mean(axis=-1, keepdims=True)
    gain, offset = (
        real_values(tensor, x.shape[-1], default)
        for tensor, default in ((operands.optional(1), 1.0), (operands.optional(2), 0.0))
    )
    return np.asarray(centred / np.sqrt(variance + op.epsilon) * gain + offset)


def _biased(y: Array, bias: Sequence[Array]) -> Array:
    return y + bias[0] if bias else y


def _max_pool2d(op: MaxPool2D, operands: Operands, values: Values) -> Array:
    del operands
    taps = op.sliding.taps(values[0], fill=-np.inf)
    return reduce(np.maximum, (tap for _, _, tap in taps))


def _average_pool2d(op: AveragePool2D, operands: Operands, values: Values) -> Array:
    del operands
    inside = np.ones((1, *values[0].shape[1:3], 1), np.float32)
    count = sum(tap for _, _, tap in op.sliding.taps(inside))
    total: Array = np.asarray(sum(tap for _, _, tap in op.sliding.taps(values[0])))
    return total / count


def _mean(op: Mean, operands: Operands, values: Values) -> Array:
    del operands
    return np.asarray(values[0].mean(axis=op.axes, dtype=np.float64))


def _pad(op: Pad, operands: Operands, values: Values) -> Array:
    del operands
    pads = list(zip(op.before, op.after, strict=True))
    return np.pad(values[0], pads, constant_values=op.value or 0)


def _softmax(op: Softmax, operands: Operands, values: Values) -> Array:
    del operands
    return np.asarray(np.exp(_log_softmax_of(op.beta * values[0])))


def _log_softmax(op: LogSoftmax, operands: Operands, values: Values) -> Array:
    del op, operands
    return _log_softmax_of(values[0])


def _log_softmax_of(x: Array) -> Array:
    below = x - x.max(axis=-1, keepdims=True)
    return np.asarray(below - np.log(np.exp(below).sum(axis=-1, keepdims=True)))


def _logistic(op: Logistic, operands: Operands, values: Values) -> Array:
    del op, operands
    return np.asarray(1 / (1 + np.exp(-values[0])))


def _lookup(op: Lookup, operands: Operands, values: Values) -> Array:
    del operands
    return op.real(values[0])


def _hard_swish(op: HardSwish, operands: Operands, values: Values) -> Array:
    del op, operands
    return np.asarray(values[0] * np.clip(values[0] + 3, 0, 6) / 6)


def _leaky_relu(op: LeakyRelu, operands: Operands, values: Values) -> Array:
    del operands
    return np.where(values[0] >= 0, values[0], values[0] * np.float32(op.alpha))


def _resize_bilinear(op: ResizeBilinear, operands: Operands, values: Values) -> Array:
    """Interpolate at exact coordinates, without the ten bits of the integer kernel."""
    shape, y = operands.input(0).shape, values[0]
    for axis in (1, 2):
        size, out = shape[axis], op.size[axis - 1]
        aligned = op.align_corners and out > 1
        half = 0.5 if op.half_pixel else 0.0
        position = (np.arange(out) + half) * ((size - aligned) / (out - aligned)) - half
        position = np.clip(position, 0, size - 1)
        lower = np.floor(position).astype(int)
        weight = np.expand_dims(position - lower, tuple(range(1, 4 - axis)))
        upper = np.minimum(lower + 1, size - 1)
        y = y.take(lower, axis) * (1 - weight) + y.take(upper, axis) * weight
    return y


def _of(function: Callable[..., Any]) -> Meaning:
    """Return the function of an operator without attributes but a fused activation."""
    return lambda _op, _operands, values: np.asarray(function(*values))


FUNCTIONS: Mapping[type[Op], Meaning] = {
    Abs: _of(np.abs),
    Add: _of(np.add),
    AveragePool2D: _average_pool2d,
    BatchMatMul: _batch_matmul,
    Conv2D: _conv2d,
    DepthwiseConv2D: _depthwise_conv2d,
    Elu: _lookup,
    Erf: _lookup,
    Exp: _lookup,
    FullyConnected: _fully_connected,
    Function: _lookup,
    Gelu: _lookup,
    HardSwish: _hard_swish,
    LayerNorm: _layer_norm,
    LeakyRelu: _leaky_relu,
    Log: _lookup,
    LogSoftmax: _log_softmax,
    Logistic: _logistic,
    MaxPool2D: _max_pool2d,
    Maximum: _of(np.maximum),
    Mean: _mean,
    Minimum: _of(np.minimum),
    Mul: _of(np.multiply),
    Pad: _pad,
    Prelu: _of(lambda x, slope: np.where(x >= 0, x, x * slope)),
    Relu: _of(np.positive),
    ResizeBilinear: _resize_bilinear,
    Rsqrt: _lookup,
    Softmax: _softmax,
    Sqrt: _lookup,
    SquaredDifference: _of(lambda a, b: np.square(a - b)),
    Sub: _of(np.subtract),
    Tanh: _of(np.tanh),
    TransposeConv: _transpose_conv,
}
