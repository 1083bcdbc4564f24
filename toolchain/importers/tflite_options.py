"""How each operator of a ``.tflite`` file is read: one line per operator in `READERS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

from toolchain.importers import tflite_moves as moves
from toolchain.importers.tflite_layer import Layer, Reader
from toolchain.importers.tflite_recurrent import LSTM_INPUTS, lstm, svdf
from toolchain.importers.tflite_slice import strided_slice
from toolchain.importers.tflite_types import ERF, LAYER_NORM, STAND_ALONE, function_name
from toolchain.ir import DType
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
    Dequantize,
    Elu,
    Erf,
    Exp,
    FullyConnected,
    Function,
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
    Quantize,
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
    Sub,
    Tanh,
    Transpose,
    TransposeConv,
    Unpack,
)
from toolchain.ops.function import CURVES
from toolchain.ops.spatial import Pads, Sliding

_MANY = 2**31


def _plain(op: Callable[[], Op]) -> Callable[[Layer], Op]:
    """Return the reader of an operator without attributes."""
    return lambda _: op()


def _extent(layer: Layer) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return dilation and dilated kernel size of a convolution with weights (_, KH, KW, _)."""
    _, kernel_h, kernel_w, _ = layer.rank(1, 4)
    options = layer.options
    dilation_h, dilation_w = layer.positive(options.DilationHFactor(), options.DilationWFactor())
    dilation = (dilation_h, dilation_w)
    return dilation, Sliding((kernel_h, kernel_w), dilation=dilation).extent


def _conv2d(layer: Layer) -> Op:
    dilation, extent = _extent(layer)
    _, height, width, _ = layer.rank(0, 4)
    pads = layer.pads((height, width), extent)
    return Conv2D(layer.stride, dilation, pads, layer.activation)


def _depthwise_conv2d(layer: Layer) -> Op:
    dilation, extent = _extent(layer)
    _, height, width, _ = layer.rank(0, 4)
    pads = layer.pads((height, width), extent)
    return DepthwiseConv2D(layer.stride, dilation, pads, layer.activation)


def _transpose_conv(layer: Layer) -> Op:
    """Return the operator; "same" padding is that of a convolution from output to input."""
    _, kernel_h, kernel_w, _ = layer.rank(1, 4)
    _, in_h, in_w, _ = layer.rank(2, 4)
    layer.require(len(layer.outputs[0].shape) == 4, "the output needs rank 4")
    _, out_h, out_w, _ = layer.outputs[0].shape
    near = layer.pads((out_h, out_w), (kernel_h, kernel_w))
    (stride_h, stride_w) = layer.stride
    bottom = (in_h - 1) * stride_h + kernel_h - near.top - out_h
    right = (in_w - 1) * stride_w + kernel_w - near.left - out_w
    pads = Pads(near.top, bottom, near.left, right)
    return TransposeConv(layer.stride, pads, layer.activation)


def _fully_connected(layer: Layer) -> Op:
    layer.require(layer.options.WeightsFormat() == 0, "shuffled weights are not supported")
    return FullyConnected(layer.activation, bool(layer.options.KeepNumDims()))


def _pool(layer: Layer) -> tuple[tuple[int, int], tuple[int, int], Pads, Activation]:
    """Return kernel, stride, padding and activation."""
    height, width = layer.rank(0, 4)[1:3]
    options = layer.options
    kernel_h, kernel_w = layer.positive(options.FilterHeight(), options.FilterWidth())
    kernel = (kernel_h, kernel_w)
    return kernel, layer.stride, layer.pads((height, width), kernel), layer.activation


def _average_pool2d(layer: Layer) -> Op:
    return AveragePool2D(*_pool(layer), half_up=layer.legacy)


def _max_pool2d(layer: Layer) -> Op:
    return MaxPool2D(*_pool(layer))


def _reduced(kind: type[Mean] | type[ReduceMax] | type[ReduceMin]) -> Callable[[Layer], Op]:
    """Return the reader of an operator that reduces axes."""

    def read(layer: Layer) -> Op:
        rank = len(layer.input(0).shape)
        axes = {layer.axis(axis, rank) for axis in layer.numbers(1)}
        return kind(tuple(sorted(axes)), bool(layer.options.KeepDims()))

    return read


def _abs(layer: Layer) -> Op:
    return LeakyRelu(-1.0) if layer.input(0).dtype is DType.FLOAT32 else Abs()


def _power(layer: Layer) -> Op:
    given = layer.input(1)
    real = given.is_constant and given.size == 1 and given.dtype is DType.FLOAT32
    layer.require(real, "the exponent must be one real constant")
    return Function("power", (float(given.values.reshape(-1)[0]),))


def _pad(layer: Layer) -> Op:
    pads, rank = layer.numbers(1), len(layer.input(0).shape)
    layer.require(len(pads) == 2 * rank, f"{2 * rank} paddings are needed")
    layer.require(min(pads, default=0) >= 0, "paddings must not be negative")
    return Pad(pads[0::2], pads[1::2], _pad_value(layer))


def _pad_value(layer: Layer) -> int | None:
    """Return the constant of a PADV2 in the input's type."""
    if len(layer.inputs) < 3:
        return None
    x, value = layer.input(0), layer.input(2)
    layer.require(value.is_constant and value.size == 1, "the value must be one constant")
    same = value.dtype == x.dtype and value.quant == x.quant
    layer.require(same, "the value must be quantised like the input")
    if value.dtype is DType.FLOAT32:
        layer.require(not value.values.any(), "only padding with zeros")
        return None
    return int(value.values.reshape(-1)[0])


def _reshape(layer: Layer) -> Op:
    """Return the reshape; one size that the file leaves open, besides the batch, is what is left.

    Files hold 1 in its place.
    """
    shape, elements = layer.outputs[0].shape, layer.input(0).size
    rest = sorted(layer.open - {0})
    if len(rest) == 1 and prod(shape) != elements:
        known = prod(n for axis, n in enumerate(shape) if axis not in rest)
        layer.require(elements % known == 0, f"{elements} elements in rows of {known}")
        shape = (*shape[: rest[0]], elements // known, *shape[rest[0] + 1 :])
    return Reshape(shape)


def _transpose(layer: Layer) -> Op:
    rank = len(layer.input(0).shape)
    return Transpose(tuple(layer.axis(axis, rank) for axis in layer.numbers(1)))


def _concat(layer: Layer) -> Op:
    axis = layer.axis(layer.options.Axis(), len(layer.input(0).shape))
    return Concat(axis, layer.activation)


def _split_along(layer: Layer, axis: tuple[int, ...], rank: int) -> Op:
    layer.require(len(axis) == 1, "one axis is needed")
    along = layer.axis(axis[0], rank)
    ranks = {len(output.shape) for output in layer.outputs}
    layer.require(ranks == {rank}, "the parts need the rank of the whole")
    return Split(along, tuple(output.shape[along] for output in layer.outputs))


def _split(layer: Layer) -> Op:
    return _split_along(layer, layer.numbers(0), len(layer.input(1).shape))


def _split_v(layer: Layer) -> Op:
    return _split_along(layer, layer.numbers(2), len(layer.input(0).shape))


def _pack(layer: Layer) -> Op:
    return Pack(layer.axis(layer.options.Axis(), len(layer.input(0).shape) + 1))


def _unpack(layer: Layer) -> Op:
    return Unpack(layer.axis(layer.options.Axis(), len(layer.input(0).shape)))


def _resize(layer: Layer) -> tuple[tuple[int, int], bool, bool]:
    """Return size, corners' alignment and half pixel centres."""
    size, options = layer.numbers(1), layer.options
    layer.require(len(size) == 2 and min(size) > 0, "the size must be height and width")
    return (size[0], size[1]), options.AlignCorners(), options.HalfPixelCenters()


def _resize_nearest(layer: Layer) -> Op:
    return ResizeNearest(*_resize(layer))


def _resize_bilinear(layer: Layer) -> Op:
    return ResizeBilinear(*_resize(layer), in_float=layer.legacy)


def _softmax(layer: Layer) -> Op:
    return Softmax(layer.options.Beta())


def _leaky_relu(layer: Layer) -> Op:
    return LeakyRelu(layer.options.Alpha())


def _arg_max(layer: Layer) -> Op:
    axis = layer.numbers(1)
    layer.require(len(axis) == 1, "one axis is needed")
    return ArgMax(layer.axis(axis[0], len(layer.input(0).shape)))


def _layer_norm(layer: Layer) -> Op:
    epsilon = layer.input(3)
    real = epsilon.is_constant and epsilon.size == 1 and epsilon.dtype is DType.FLOAT32
    layer.require(real, "epsilon must be one real constant")
    return LayerNorm(float(epsilon.values.reshape(-1)[0]))


def _function(kind: str) -> Reader:
    """Return the reader of a function of one element, whose parameters are a real constant."""
    expected = len(CURVES[kind].parameters)

    def read(layer: Layer) -> Op:
        if not expected:
            return Function(kind)
        given = layer.input(1)
        real = given.is_constant and given.shape == (expected,) and given.dtype is DType.FLOAT32
        layer.require(real, f"{expected} real constants are needed")
        return Function(kind, tuple(float(value) for value in given.values))

    count = 2 if expected else 1
    return Reader(read, "", count, count, (0,))


def _named(kind: str) -> Callable[[Layer], Op]:
    """Return the reader of a function of one element that has no parameters."""
    return lambda _: Function(kind)


def _relu(layer: Layer) -> Op:
    return Relu(STAND_ALONE[layer.code])


READERS: Mapping[str, Reader] = {
    "ABS": Reader(_abs),
    "ADD": Reader(lambda layer: Add(layer.activation), "AddOptions", 2, 2),
    "ARG_MAX": Reader(_arg_max, "ArgMaxOptions", 2, 2, (0,)),
    "AVERAGE_POOL_2D": Reader(_average_pool2d, "Pool2DOptions"),
    "BATCH_MATMUL": Reader(
        lambda layer: BatchMatMul(bool(layer.options.AdjX()), bool(layer.options.AdjY())),
        "BatchMatMulOptions",
        2,
        2,
    ),
    "BATCH_TO_SPACE_ND": Reader(moves.batch_to_space, "", 3, 3, (0,), moves=True),
    "BROADCAST_TO": Reader(moves.broadcast_to, "", 2, 2, (0,), moves=True),
    "CEIL": Reader(_named("ceiling")),
    "COS": Reader(_named("cosine")),
    "CONCATENATION": Reader(_concat, "ConcatenationOptions", 1, _MANY, moves=True),
    "CONV_2D": Reader(_conv2d, "Conv2DOptions", 2, 3, weights=1),
    f'CUSTOM "{ERF}"': Reader(_plain(Erf)),
    f'CUSTOM "{LAYER_NORM}"': Reader(_layer_norm, "", 4, 4, (0, 1, 2)),
    **{f'CUSTOM "{function_name(kind)}"': _function(kind) for kind in CURVES},
    "DEPTHWISE_CONV_2D": Reader(
        _depthwise_conv2d, "DepthwiseConv2DOptions", 2, 3, weights=1, channels=3
    ),
    "DEPTH_TO_SPACE": Reader(moves.depth_to_space, "DepthToSpaceOptions", moves=True),
    "DEQUANTIZE": Reader(_plain(Dequantize)),
    "ELU": Reader(_plain(Elu)),
    "EXP": Reader(_plain(Exp), "ExpOptions"),
    "EXPAND_DIMS": Reader(_reshape, "ExpandDimsOptions", 2, 2, (0,), moves=True),
    "FLOOR": Reader(_named("floor")),
    "FULLY_CONNECTED": Reader(_fully_connected, "FullyConnectedOptions", 2, 3, weights=1),
    "GATHER": Reader(moves.gather, "GatherOptions", 2, 2, (0,), moves=True),
    "GELU": Reader(lambda layer: Gelu(bool(layer.options.Approximate())), "GeluOptions"),
    "HARD_SWISH": Reader(_plain(HardSwish)),
    "LEAKY_RELU": Reader(_leaky_relu, "LeakyReluOptions"),
    "LOG": Reader(_plain(Log)),
    "LOGISTIC": Reader(_plain(Logistic)),
    "LOG_SOFTMAX": Reader(_plain(LogSoftmax)),
    "MAXIMUM": Reader(_plain(Maximum), "", 2, 2),
    "MAX_POOL_2D": Reader(_max_pool2d, "Pool2DOptions"),
    "MEAN": Reader(_reduced(Mean), "ReducerOptions", 2, 2, (0,)),
    "MINIMUM": Reader(_plain(Minimum), "", 2, 2),
    "MIRROR_PAD": Reader(moves.mirror_pad, "MirrorPadOptions", 2, 2, (0,), moves=True),
    "MUL": Reader(lambda layer: Mul(layer.activation), "MulOptions", 2, 2),
    "PACK": Reader(_pack, "PackOptions", 1, _MANY, moves=True),
    "PAD": Reader(_pad, "", 2, 2, (0,), moves=True),
    "PADV2": Reader(_pad, "", 3, 3, (0,), moves=True),
    "POW": Reader(_power, "", 2, 2, (0,)),
    "PRELU": Reader(_plain(Prelu), "", 2, 2),
    "QUANTIZE": Reader(_plain(Quantize)),
    "REDUCE_MAX": Reader(_reduced(ReduceMax), "ReducerOptions", 2, 2, (0,)),
    "REDUCE_MIN": Reader(_reduced(ReduceMin), "ReducerOptions", 2, 2, (0,)),
    "RELU": Reader(_relu),
    "RELU6": Reader(_relu),
    "RELU_N1_TO_1": Reader(_relu),
    "RESHAPE": Reader(_reshape, "", 1, 2, (0,), moves=True),
    "RESIZE_BILINEAR": Reader(_resize_bilinear, "ResizeBilinearOptions", 2, 2, (0,)),
    "RESIZE_NEAREST_NEIGHBOR": Reader(
        _resize_nearest, "ResizeNearestNeighborOptions", 2, 2, (0,), moves=True
    ),
    "REVERSE_V2": Reader(moves.reverse, "", 2, 2, (0,), moves=True),
    "ROUND": Reader(_named("round")),
    "RSQRT": Reader(_plain(Rsqrt)),
    "SIGN": Reader(_named("sign")),
    "SIN": Reader(_named("sine")),
    "SLICE": Reader(moves.slice_, "", 3, 3, (0,), moves=True),
    "SOFTMAX": Reader(_softmax, "SoftmaxOptions"),
    "SPACE_TO_BATCH_ND": Reader(moves.space_to_batch, "", 3, 3, (0,), moves=True),
    "SPACE_TO_DEPTH": Reader(moves.space_to_depth, "SpaceToDepthOptions", moves=True),
    "SPLIT": Reader(_split, "", 2, 2, (1,), moves=True),
    "SPLIT_V": Reader(_split_v, "", 3, 3, (0,), moves=True),
    "SQRT": Reader(_plain(Sqrt)),
    "SQUARE": Reader(_plain(lambda: Function("power", (2.0,)))),
    "SQUARED_DIFFERENCE": Reader(_plain(SquaredDifference), "", 2, 2),
    "SQUEEZE": Reader(_reshape, moves=True),
    "STRIDED_SLICE": Reader(strided_slice, "StridedSliceOptions", 4, 4, (0,), moves=True),
    "SUB": Reader(lambda layer: Sub(layer.activation), "SubOptions", 2, 2),
    "SVDF": Reader(svdf, "SVDFOptions", 3, 5, states=(4,)),
    "TANH": Reader(_plain(Tanh)),
    "TILE": Reader(moves.tile, "", 2, 2, (0,), moves=True),
    "TRANSPOSE": Reader(_transpose, "", 2, 2, (0,), moves=True),
    "TRANSPOSE_CONV": Reader(_transpose_conv, "TransposeConvOptions", 3, 4, (2, 1, 3), weights=1),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": Reader(
        lstm, "UnidirectionalSequenceLSTMOptions", 9, 24, LSTM_INPUTS, states=(18, 19)
    ),
    "UNPACK": Reader(_unpack, "UnpackOptions", moves=True),
}
