"""Operators: one file each, five questions answered there (see `toolchain.ops.base`)."""

from toolchain.ops.abs import Abs
from toolchain.ops.add import Add
from toolchain.ops.arg_max import ArgMax
from toolchain.ops.assign import Assign
from toolchain.ops.average_pool2d import AveragePool2D
from toolchain.ops.base import Lowered, Op, TensorType
from toolchain.ops.batch_matmul import BatchMatMul
from toolchain.ops.concat import Concat
from toolchain.ops.conv2d import Conv2D
from toolchain.ops.depthwise_conv2d import DepthwiseConv2D
from toolchain.ops.dequantize import Dequantize
from toolchain.ops.elu import Elu
from toolchain.ops.erf import Erf
from toolchain.ops.exp import Exp
from toolchain.ops.fully_connected import FullyConnected
from toolchain.ops.function import Function
from toolchain.ops.gather import Gather
from toolchain.ops.gelu import Gelu
from toolchain.ops.hard_swish import HardSwish
from toolchain.ops.layer_norm import LayerNorm
from toolchain.ops.leaky_relu import LeakyRelu
from toolchain.ops.log import Log
from toolchain.ops.log_softmax import LogSoftmax
from toolchain.ops.logistic import Logistic
from toolchain.ops.lstm import Lstm
from toolchain.ops.max_pool2d import MaxPool2D
from toolchain.ops.maximum import Maximum
from toolchain.ops.mean import Mean
from toolchain.ops.minimum import Minimum
from toolchain.ops.mul import Mul
from toolchain.ops.pack import Pack
from toolchain.ops.pad import Pad
from toolchain.ops.prelu import Prelu
from toolchain.ops.quantize import Quantize
from toolchain.ops.reduce_max import ReduceMax
from toolchain.ops.reduce_min import ReduceMin
from toolchain.ops.relu import Relu
from toolchain.ops.reshape import Reshape
from toolchain.ops.resize_bilinear import ResizeBilinear
from toolchain.ops.resize_nearest import ResizeNearest
from toolchain.ops.rsqrt import Rsqrt
from toolchain.ops.shift import Shift
from toolchain.ops.softmax import Softmax
from toolchain.ops.split import Split
from toolchain.ops.sqrt import Sqrt
from toolchain.ops.squared_difference import SquaredDifference
from toolchain.ops.strided_slice import StridedSlice
from toolchain.ops.sub import Sub
from toolchain.ops.svdf import Svdf
from toolchain.ops.tanh import Tanh
from toolchain.ops.transpose import Transpose
from toolchain.ops.transpose_conv import TransposeConv
from toolchain.ops.unpack import Unpack

__all__ = [
    "Abs",
    "Add",
    "ArgMax",
    "Assign",
    "AveragePool2D",
    "BatchMatMul",
    "Concat",
    "Conv2D",
    "DepthwiseConv2D",
    "Dequantize",
    "Elu",
    "Erf",
    "Exp",
    "FullyConnected",
    "Function",
    "Gather",
    "Gelu",
    "HardSwish",
    "LayerNorm",
    "LeakyRelu",
    "Log",
    "LogSoftmax",
    "Logistic",
    "Lowered",
    "Lstm",
    "MaxPool2D",
    "Maximum",
    "Mean",
    "Minimum",
    "Mul",
    "Op",
    "Pack",
    "Pad",
    "Prelu",
    "Quantize",
    "ReduceMax",
    "ReduceMin",
    "Relu",
    "Reshape",
    "ResizeBilinear",
    "ResizeNearest",
    "Rsqrt",
    "Shift",
    "Softmax",
    "Split",
    "Sqrt",
    "SquaredDifference",
    "StridedSlice",
    "Sub",
    "Svdf",
    "Tanh",
    "TensorType",
    "Transpose",
    "TransposeConv",
    "Unpack",
]
