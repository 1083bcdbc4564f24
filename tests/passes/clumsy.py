"""Random networks full of needless work, as converters leave them, for the passes to remove."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.graphs import STEPS, Builder, Step, any_activation
from toolchain import ops
from toolchain.importers.spelled import batch_to_space, space_to_batch
from toolchain.ir import DType, Graph, Quant, Tensor
from toolchain.numerics import Activation
from toolchain.ops.spatial import Pads

NCHW_TO_NHWC, NHWC_TO_NCHW = (0, 2, 3, 1), (0, 3, 1, 2)


def _padded_conv(b: Builder, x: Tensor) -> Tensor:
    """Pad by nothing or a little, then a convolution or a depthwise one."""
    amount = (0, *(int(p) for p in b.rng.integers(0, 2, 2)), 0)
    padded = b.alike(ops.Pad(amount, amount), x)
    if b.rng.integers(2):
        return b.depthwise_conv2d(
            padded, kernel=(1, 2), op=ops.DepthwiseConv2D(pads=Pads(0, 0, 0, 1))
        )
    return b.conv2d(padded, 5, (2, 1), ops.Conv2D(pads=Pads(1, 0, 0, 0)))


def _padded_pool(b: Builder, x: Tensor) -> Tensor:
    """Pad with the least value, or with zero, then a maximum or average pool."""
    value = -128 if b.rng.integers(2) else None
    padded = b.alike(ops.Pad((0, 1, 1, 0), (0, 1, 1, 0), value), x)
    op = ops.MaxPool2D if b.rng.integers(2) else ops.AveragePool2D
    return b.alike(op((2, 2), (1, 1)), padded)


def _relu_behind(b: Builder, x: Tensor) -> Tensor:
    """An activation of its own behind a layer that may have one fused."""
    op = ops.Conv2D(activation=any_activation(b.rng))
    y = (
        b.conv2d(x, 6, (1, 1), op)
        if b.rng.integers(2)
        else b.rescaled(ops.Add(), x, b.constant(()))
    )
    choices = (Activation.RELU, Activation.RELU6, Activation.RELU_N1_TO_1)
    return b.alike(ops.Relu(choices[int(b.rng.integers(3))]), y)


def _there_and_back(b: Builder, x: Tensor) -> Tensor:
    """Transpose, elementwise work, transpose back."""
    y = b.alike(ops.Transpose(NHWC_TO_NCHW), x)
    y = b.rescaled(ops.Add(any_activation(b.rng)), y, b.constant((1, x.shape[3], 1, 1)))
    y = b.alike(ops.Pad((0, 0, 1, 0), (0, 0, 0, 1)), b.alike(ops.Concat(1), y, y))
    return b.alike(ops.Transpose(NCHW_TO_NHWC), y)


def _channels_first_slice(b: Builder, x: Tensor) -> Tensor:
    y = b.alike(ops.Transpose(NHWC_TO_NCHW), x)
    parts = b.apply(ops.Split(1, (y.shape[1],)), [y], y.quant)
    y = b.alike(ops.StridedSlice((0, 0, 0, 0), y.shape, (1, 1, 2, 1)), parts[0])
    return b.alike(ops.Transpose(NCHW_TO_NHWC), y)


def _reshape_chain(b: Builder, x: Tensor) -> Tensor:
    flat = b.alike(ops.Reshape((x.size,)), x)
    same = b.alike(ops.Reshape((x.size,)), flat)
    return b.alike(ops.Reshape(x.shape), same)


def _through_float(b: Builder, x: Tensor) -> Tensor:
    """Dequantise and quantise again to the same or another scale."""
    (real,) = b.apply(ops.Dequantize(), [x], None, DType.FLOAT32)
    quant = x.quant if b.rng.integers(2) else b.quant(x.scale * 1.3)
    (again,) = b.apply(ops.Quantize(), [real], quant)
    return again


def _through_uint8(b: Builder, x: Tensor) -> Tensor:
    """Shift to uint8, then to int8 of another scale."""
    shifted = Quant.per_tensor(x.scale, x.zero_point + 128)
    (legacy,) = b.apply(ops.Quantize(), [x], shifted, DType.UINT8)
    (again,) = b.apply(ops.Quantize(), [legacy], b.quant(x.scale * 0.8))
    return again


def _constant_branch(b: Builder, x: Tensor) -> Tensor:
    constant = b.alike(ops.Reshape((1, 1, 1, x.shape[3])), b.constant((x.shape[3],)))
    return b.rescaled(ops.Add(), x, b.alike(ops.Relu(), constant))


def _dealt_out(b: Builder, x: Tensor) -> Tensor:
    """A dilated convolution as one of parts of the map, dealt out to batches."""
    after = (x.shape[1] % 2 + 2, x.shape[2] % 2)
    for op in space_to_batch(x.shape, (2, 2), (2, 0), after):
        x = b.alike(op, x)
    x = b.conv2d(x, 4, (2, 1))
    for op in batch_to_space(x.shape, (2, 2), (1, 0), (0, after[1])):
        x = b.alike(op, x)
    return x


CLUMSY: tuple[Step, ...] = (
    _dealt_out,
    _padded_conv,
    _padded_pool,
    _relu_behind,
    _there_and_back,
    _channels_first_slice,
    _reshape_chain,
    _through_float,
    _through_uint8,
    _constant_branch,
)


def _means(b: Builder, x: Tensor) -> Tensor:
    """Global pooling as one framework exports it: transposed, one axis at a time."""
    y = b.alike(ops.Transpose(NHWC_TO_NCHW), x)
    y = b.rescaled(ops.Mean((2,)), b.rescaled(ops.Mean((3,)), y))
    return b.fully_connected(y, 4)


def _flat_channels_first(b: Builder, x: Tensor) -> Tensor:
    y = b.alike(ops.Transpose(NHWC_TO_NCHW), x)
    return b.fully_connected(b.alike(ops.Reshape((1, y.size)), y), 4)


def _arg_max(b: Builder, x: Tensor) -> Tensor:
    y = b.alike(ops.Transpose(NHWC_TO_NCHW), x)
    (index,) = b.apply(ops.ArgMax(1), [y], None, DType.INT32)
    return index


def sliding_graph(rng: np.random.Generator) -> Graph:
    """Return a random network over windows in time, as converters write them."""
    b = Builder(rng, "sliding")
    x = b.input((1, int(rng.integers(1, 3)), 5, 3))
    for _ in range(int(rng.integers(1, 4))):
        kept = int(rng.integers(1, 5))
        state = b.state((1, kept, *x.shape[2:]), x.quant)
        window = b.alike(ops.Concat(1), state, x)
        begin = (0, window.shape[1] - kept, 0, 0)
        b.remember(state, b.alike(ops.StridedSlice(begin, window.shape, (1, 1, 1, 1)), window))
        x = b.conv2d(window, 4, (min(2, window.shape[1]), 1))
    return b.graph(x)


HEADS = (_means, _flat_channels_first, _arg_max)


def clumsy_graph(rng: np.random.Generator, length: int = 6) -> Graph:
    """Return a random network of which much can go; with two outputs, one in the middle."""
    b = Builder(rng, "clumsy")
    x = b.input((1, 6, 7, 3), DType.FLOAT32)
    (x,) = b.apply(ops.Quantize(), [x], b.quant())
    steps = (*CLUMSY, *STEPS[:4])
    for index in rng.integers(0, len(steps), length):
        x = steps[int(index)](b, x)
        if min(x.shape[1:3]) < 4:  # keep room for kernels
            x = b.alike(ops.Pad((0, 2, 2, 0), (0, 2, 2, 0)), x)
    b.rescaled(ops.Relu(), x)  # nobody reads it
    head = HEADS[int(rng.integers(len(HEADS)))](b, x)
    if head.dtype is DType.INT8:
        (head,) = b.apply(ops.Dequantize(), [head], None, DType.FLOAT32)
    graph = b.graph(head, x)
    return replace(graph, outputs=graph.outputs[: int(rng.integers(1, 3))])
