"""Random weighted layers whose outputs fill the range, as trained networks' do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.ops.harness import inferred, single
from toolchain.ir import DType, Graph, Quant, Tensor, constant
from toolchain.numerics import Activation
from toolchain.ops import Conv2D, DepthwiseConv2D, FullyConnected, Op
from toolchain.ops.spatial import Pads


def random_conv(rng: np.random.Generator) -> Graph:
    in_c = int(rng.choice([1, 2, 3, 4, 5, 8, 12, 16]))
    kernel = int(rng.choice([1, 1, 2, 3, 5])), int(rng.choice([1, 2, 3, 4, 7]))
    dilation = (1, 1) if rng.random() < 0.7 else (int(rng.choice([1, 2])), int(rng.choice([1, 3])))
    op = Conv2D(stride(rng), dilation, pads(rng), activation(rng))
    shape = (int(rng.integers(1, 9)), *kernel, in_c)
    return layer(rng, op, (int(rng.integers(1, 3)), *size(rng, kernel, dilation), in_c), shape)


def random_pointwise(rng: np.random.Generator) -> Graph:
    in_c, out_c = 4 * int(rng.integers(1, 12)), int(rng.integers(1, 12))
    op = Conv2D(activation=activation(rng))
    x_shape = (int(rng.integers(1, 3)), *(int(s) for s in rng.integers(1, 6, 2)), in_c)
    return layer(rng, op, x_shape, (out_c, 1, 1, in_c))


def random_depthwise(rng: np.random.Generator) -> Graph:
    return _depthwise(rng, int(rng.integers(1, 6)))


def random_depthwise_by(lanes: int, rng: np.random.Generator) -> Graph:
    """Return a depthwise layer of a multiple of ``lanes`` channels, at times as in legacy files."""
    graph = _depthwise(rng, lanes * int(rng.integers(1, 6)))
    return graph if rng.random() < 0.7 else with_weight_zero_point(graph, rng)


def _depthwise(rng: np.random.Generator, in_c: int) -> Graph:
    multiplier = int(rng.choice([1, 1, 1, 2, 3]))
    kernel = int(rng.choice([1, 2, 3, 5, 7])), int(rng.choice([1, 2, 3, 3, 4, 5, 7]))
    dilation = (int(rng.choice([1, 1, 1, 2])), 1)
    op = DepthwiseConv2D(stride(rng), dilation, pads(rng), activation(rng))
    shape = (1, *kernel, in_c * multiplier)
    return layer(rng, op, (int(rng.integers(1, 3)), *size(rng, kernel, dilation), in_c), shape, 3)


def random_fully_connected(rng: np.random.Generator) -> Graph:
    rows, units = int(rng.integers(1, 4)), int(rng.integers(1, 14))
    depth = int(rng.integers(1, 90) if rng.random() < 0.6 else rng.integers(300, 500))
    graph = layer(rng, FullyConnected(activation(rng)), (rows, depth), (units, depth))
    return graph if rng.random() < 0.5 else with_one_scale(graph)


def random_pixel(rng: np.random.Generator) -> Graph:
    """Return a convolution whose window is the whole map, mostly of one pixel."""
    out_c = int(rng.integers(1, 14))
    in_c = int(rng.integers(1, 50) if rng.random() < 0.8 else rng.integers(300, 500))
    height, width = (1, 1) if rng.random() < 0.6 else (int(n) for n in rng.integers(1, 4, 2))
    op = Conv2D(activation=activation(rng))
    graph = layer(rng, op, (1, height, width, in_c), (out_c, height, width, in_c))
    return graph if rng.random() < 0.5 else with_one_scale(graph)


def random_column(rng: np.random.Generator) -> Graph:
    """Return a depthwise layer over time, rarely with channels that do not come in fours."""
    in_c = int(rng.choice([4, 8, 12, 12, 16, 5]))
    kernel = int(rng.integers(1, 12) if rng.random() < 0.7 else rng.integers(40, 60))
    op = DepthwiseConv2D(stride(rng), activation=activation(rng))
    rows = kernel + int(rng.choice([0, 0, 1, 2, 5]))
    x_shape, shape = (int(rng.integers(1, 3)), rows, 1, in_c), (1, kernel, 1, in_c)
    return layer(rng, op, x_shape, shape, 3, steps=(0.1, 0.1, 1, 1, 8))


def layer(
    rng: np.random.Generator,
    op: Op,
    x_shape: tuple[int, ...],
    shape: tuple[int, ...],
    axis: int = 0,
    steps: tuple[float, ...] = (0.1, 1, 1, 1, 8),
) -> Graph:
    """Return the layer with random weights; one filter in eight is dead or nearly so.

    Scales are one of ``steps`` times those that fill the output; biases of small ones are large.
    """
    filters, fan_in = shape[axis], int(np.prod(shape)) // shape[axis]
    if isinstance(op, DepthwiseConv2D):
        fan_in = shape[1] * shape[2]
    x = Tensor("x", x_shape, DType.INT8, Quant.per_tensor(0.05, int(rng.integers(-128, 128))))
    step = float(rng.choice(steps))
    spread = rng.uniform(0.2, 1.5, filters) * step
    scales = 0.15 / np.sqrt(fan_in) * spread
    far = 2**21 if step < 1 and rng.random() < 0.8 else 20000
    bias = rng.integers(-far, far, filters)
    faint = rng.random(filters) < 0.125
    scales = np.where(faint, scales * 2.0 ** -rng.integers(8, 40, filters), scales)
    bias = np.where(faint, rng.integers(-(2**30), 2**30, filters), bias)
    quant = Quant(tuple(float(np.float32(s)) for s in scales), (0,) * filters, axis)
    weights = constant("w", rng.integers(-127, 128, shape, dtype=np.int8), quant)
    zero = -128 if rng.random() < 0.5 else int(rng.integers(-128, 128))
    y = Tensor("y", (), DType.INT8, Quant.per_tensor(1.0, zero))
    operands = [x, weights, constant("b", bias.astype(np.int32))]
    return single(op, operands, [inferred(op, operands, y)])


def activation(rng: np.random.Generator) -> Activation:
    kinds = [Activation.NONE, Activation.NONE, Activation.RELU, Activation.RELU6]
    return kinds[int(rng.integers(len(kinds)))]


def stride(rng: np.random.Generator) -> tuple[int, int]:
    return int(rng.choice([1, 1, 2, 3])), int(rng.choice([1, 1, 2, 3]))


def pads(rng: np.random.Generator) -> Pads:
    kind = rng.random()
    if kind >= 0.7:
        return Pads()
    top, bottom, left, right = (int(p) for p in rng.integers(0, 3, 4))
    return Pads(top, bottom, left, right) if kind < 0.6 else Pads(0, 0, left, right)


def size(
    rng: np.random.Generator, kernel: tuple[int, int], dilation: tuple[int, int]
) -> tuple[int, int]:
    need = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    return need[0] + int(rng.integers(0, 6)), need[1] + int(rng.integers(0, 12))


def random_channels(rng: np.random.Generator) -> Graph:
    """Return a depthwise convolution of some to many channels."""
    in_c = int(rng.choice([1, 3, 8, 16, 20, 32, 40]))
    kernel = int(rng.choice([1, 2, 3, 3, 5])), int(rng.choice([1, 2, 3, 3, 5, 7]))
    dilation = int(rng.choice([1, 1, 1, 2])), int(rng.choice([1, 1, 1, 2, 3]))
    op = DepthwiseConv2D(stride(rng), dilation, pads(rng), activation(rng))
    x_shape = (int(rng.integers(1, 3)), *size(rng, kernel, dilation), in_c)
    return layer(rng, op, x_shape, (1, *kernel, in_c), 3)


def random_steep(rng: np.random.Generator) -> Graph:
    """Return a layer of small weights, most of whose multipliers are above 1."""
    makers = random_conv, random_pointwise, random_fully_connected, random_channels
    graph = makers[int(rng.integers(len(makers)))](rng)
    weights, bias = graph.tensors["w"], graph.tensors["b"]
    assert weights.quant is not None
    scales = 20 * 2 ** rng.uniform(-1, 3, len(weights.quant.scales))
    quant = replace(weights.quant, scales=tuple(float(np.float32(s)) for s in scales))
    values = rng.integers(-1, 2, weights.shape, dtype=np.int8)
    few = constant("w", values, quant), constant("b", rng.integers(-9, 10, bias.shape, np.int32))
    return replace(graph, tensors={**graph.tensors, "w": few[0], "b": few[1]})


def with_weight_zero_point(graph: Graph, rng: np.random.Generator) -> Graph:
    """Return the layer with one scale and a zero point for all weights, as legacy files have."""
    return with_one_scale(graph, int(rng.integers(-128, 128)))


def with_one_scale(graph: Graph, zero_point: int = 0) -> Graph:
    """Return the layer with one scale for all weights, the median of the filters' own."""
    weights = graph.tensors["w"]
    assert weights.quant is not None
    quant = Quant.per_tensor(
        sorted(weights.quant.scales)[len(weights.quant.scales) // 2], zero_point
    )
    return replace(graph, tensors={**graph.tensors, "w": replace(weights, quant=quant)})
