"""What operators mean for real numbers in PyTorch: the way back of quantisation-aware training.

Every function takes the operator, its tensors for one case, and a batch of their real values in
float32, constants for one case; it returns the real values of the output, a tuple of several,
without a fused activation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from toolchain.ir import Operands
from toolchain.ops import (
    Abs,
    Add,
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
    Maximum,
    MaxPool2D,
    Mean,
    Minimum,
    Mul,
    Op,
    Pad,
    Prelu,
    Quantize,
    ReduceMax,
    ReduceMin,
    Relu,
    Reshape,
    Rsqrt,
    Softmax,
    Split,
    Sqrt,
    StridedSlice,
    Sub,
    Tanh,
    Transpose,
)
from toolchain.ops.lookup import Lookup
from toolchain.ops.spatial import Pads

_CHORD = np.float32(2**-9)  # half of one, as a share of its place

Reals = Sequence[Any]
Meaning = Callable[[Any, Operands, Reals], Any]


def _conv2d(op: Conv2D, operands: Operands, given: Reals) -> Any:
    del operands
    return _convolved(op, given, given[1].permute(0, 3, 1, 2))


def _depthwise_conv2d(op: DepthwiseConv2D, operands: Operands, given: Reals) -> Any:
    del operands
    return _convolved(op, given, given[1].permute(3, 0, 1, 2))


def _convolved(op: Conv2D | DepthwiseConv2D, given: Reals, kernel: Any) -> Any:
    from torch.nn import functional

    x, bias = given[0], given[2] if len(given) > 2 else None
    groups = x.shape[3] // kernel.shape[1]
    padded = functional.pad(x.permute(0, 3, 1, 2), _borders(op.pads))
    y = functional.conv2d(padded, kernel, bias, op.stride, 0, op.dilation, groups)
    return y.permute(0, 2, 3, 1)


def _borders(pads: Pads) -> tuple[int, ...]:
    """Return padding as PyTorch takes it: columns first."""
    return (*pads[2:], *pads[:2])


def _fully_connected(op: FullyConnected, operands: Operands, given: Reals) -> Any:
    from torch.nn import functional

    del op
    x, weights, *bias = given
    y = functional.linear(x.reshape(-1, weights.shape[1]), weights, *bias)
    return y.reshape(len(x), *operands.output.shape[1:])


def _max_pool2d(op: MaxPool2D, operands: Operands, given: Reals) -> Any:
    import torch
    from torch.nn import functional

    del operands
    padded = functional.pad(given[0].permute(0, 3, 1, 2), _borders(op.pads), value=-torch.inf)
    return functional.max_pool2d(padded, op.kernel, op.stride).permute(0, 2, 3, 1)


def _average_pool2d(op: AveragePool2D, operands: Operands, given: Reals) -> Any:
    """Average what lies inside the map."""
    import torch
    from torch.nn import functional

    del operands
    x = given[0].permute(0, 3, 1, 2)
    sums, counts = (
        functional.avg_pool2d(functional.pad(one, _borders(op.pads)), op.kernel, op.stride)
        for one in (x, torch.ones_like(x[:1, :1]))
    )
    return (sums / counts).permute(0, 2, 3, 1)


def _mean(op: Mean, operands: Operands, given: Reals) -> Any:
    del operands
    return given[0].mean(op.axes, keepdim=op.keep_dims)


def _reduce_max(op: ReduceMax, operands: Operands, given: Reals) -> Any:
    del operands
    return given[0].amax(op.axes, keepdim=op.keep_dims)


def _reduce_min(op: ReduceMin, operands: Operands, given: Reals) -> Any:
    del operands
    return given[0].amin(op.axes, keepdim=op.keep_dims)


def _reshape(op: Reshape, operands: Operands, given: Reals) -> Any:
    del op
    return given[0].reshape(len(given[0]), *operands.output.shape[1:])


def _transpose(op: Transpose, operands: Operands, given: Reals) -> Any:
    del operands
    return given[0].permute(op.perm)


def _concat(op: Concat, operands: Operands, given: Reals) -> Any:
    import torch

    del operands
    count = max(len(x) for x in given)
    return torch.cat([x.expand(count, *x.shape[1:]) for x in given], op.axis)


def _pad(op: Pad, operands: Operands, given: Reals) -> Any:
    from torch.nn import functional

    y = operands.output
    value = 0.0 if op.value is None else (op.value - y.zero_point) * y.scale
    sizes = [n for pair in zip(op.before, op.after, strict=True) for n in reversed(pair)]
    return functional.pad(given[0], sizes[::-1], value=value)


def _split(op: Split, operands: Operands, given: Reals) -> Any:
    del operands
    return given[0].split(op.sizes, op.axis)


def _strided_slice(op: StridedSlice, operands: Operands, given: Reals) -> Any:
    import torch

    (x,) = given
    for axis, ends in enumerate(zip(op.begin, op.end, op.strides, strict=True)):
        if axis > 0:  # all cases of the batch are kept
            x = x.index_select(axis, torch.arange(*ends))
    return x.reshape(len(x), *operands.output.shape[1:])


def _batch_matmul(op: BatchMatMul, operands: Operands, given: Reals) -> Any:
    del operands
    left, right = given
    left = left.transpose(-1, -2) if op.transpose_a else left
    return left @ (right.transpose(-1, -2) if op.transpose_b else right)


def _layer_norm(op: LayerNorm, operands: Operands, given: Reals) -> Any:
    from torch.nn import functional

    x, *constants = given
    gain = constants.pop(0) if operands.optional(1) is not None else None
    offset = constants.pop(0) if constants else None
    return functional.layer_norm(x, x.shape[-1:], gain, offset, op.epsilon)


def _gelu(op: Gelu, operands: Operands, given: Reals) -> Any:
    from torch.nn import functional

    del operands
    return functional.gelu(given[0], approximate="tanh" if op.approximate else "none")


def _elu(op: Elu, operands: Operands, given: Reals) -> Any:
    from torch.nn import functional

    del op, operands
    return functional.elu(given[0])


def _gather(op: Gather, operands: Operands, given: Reals) -> Any:
    import torch

    del operands
    return given[0].index_select(op.axis, torch.tensor(op.indices)) if op.axis else given[0]


def _lookup(op: Lookup, operands: Operands, given: Reals) -> Any:
    """Return a function of which numpy knows the values: its slopes are those of short chords."""
    import torch

    del operands
    (x,) = given
    near = x.detach().numpy()
    reach = _CHORD * np.maximum(np.abs(near), 1)
    with np.errstate(all="ignore"):
        left, middle, right = (op.real(one) for one in (near - reach, near, near + reach))
    slope, value = np.nan_to_num((right - left) / (2 * reach)), np.nan_to_num(middle)
    line = torch.from_numpy(slope.astype(np.float32)) * (x - x.detach())
    return line + torch.from_numpy(value.astype(np.float32))


def _softmax(op: Softmax, operands: Operands, given: Reals) -> Any:
    del operands
    return (given[0] * op.beta).softmax(-1)


def _leaky_relu(op: LeakyRelu, operands: Operands, given: Reals) -> Any:
    from torch.nn import functional

    del operands
    return functional.leaky_relu(given[0], op.alpha)


def _hard_swish(op: HardSwish, operands: Operands, given: Reals) -> Any:
    del op, operands
    return given[0] * (given[0] + 3).clamp(0, 6) / 6


def _of(function: Callable[..., Any]) -> Meaning:
    """Return the function of an operator without attributes but a fused activation."""
    return lambda _op, _operands, given: function(*given)


GRADIENTS: Mapping[type[Op], Meaning] = {
    Abs: _of(lambda x: x.abs()),
    Add: _of(lambda a, b: a + b),
    AveragePool2D: _average_pool2d,
    BatchMatMul: _batch_matmul,
    Concat: _concat,
    Conv2D: _conv2d,
    DepthwiseConv2D: _depthwise_conv2d,
    Elu: _elu,
    Erf: _of(lambda x: x.erf()),
    Exp: _lookup,
    FullyConnected: _fully_connected,
    Function: _lookup,
    Gather: _gather,
    Gelu: _gelu,
    HardSwish: _hard_swish,
    LayerNorm: _layer_norm,
    LeakyRelu: _leaky_relu,
    Log: _lookup,
    Logistic: _of(lambda x: x.sigmoid()),
    Maximum: _of(lambda a, b: a.maximum(b)),
    MaxPool2D: _max_pool2d,
    Mean: _mean,
    Minimum: _of(lambda a, b: a.minimum(b)),
    Mul: _of(lambda a, b: a * b),
    Pad: _pad,
    Prelu: _of(lambda x, slope: x.where(x >= 0, x * slope)),
    Quantize: _of(lambda x: x),
    ReduceMax: _reduce_max,
    ReduceMin: _reduce_min,
    Relu: _of(lambda x: x),
    Reshape: _reshape,
    Rsqrt: _lookup,
    Softmax: _softmax,
    Split: _split,
    Sqrt: _lookup,
    StridedSlice: _strided_slice,
    Sub: _of(lambda a, b: a - b),
    Tanh: _of(lambda x: x.tanh()),
    Transpose: _transpose,
}
