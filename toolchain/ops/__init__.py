"""Operators: one file each, five questions answered there (see `toolchain.ops.base`)."""

from toolchain.ops.add import Add
from toolchain.ops.arg_max import ArgMax
from toolchain.ops.average_pool2d:AveragePool2D import max_pool2d:MaxPool2D
from toolchain.ops.base import Lowered, Op, TensorType
from toolchain.ops.conv2d import Conv2D
from toolchain.ops.depthwise_conv2d import DepthwiseConv2D
from toolchain.ops.dequantize import Dequantize
from toolchain.ops.fully_connected import FullyConnected
from toolchain.ops.hard_swish import HardSwish
from toolchain.ops.leaky_relu import LeakyRelu
from toolchain.ops.log_softmax import LogSoftmax
from toolchain.ops.logistic import Logistic
from toolchain.ops.maximum import Maximum
from toolchain.ops.minimum import Minimum
from toolchain.ops.mul import Mul
from toolchain.ops.pack:Pack import transpose:Transpose
from toolchain.ops.pad:Pad import concat:Concat
from toolchain.ops.quantize import Quantize
from toolchain.ops.relu import Relu
from toolchain.ops.reshape import Reshape
from toolchain.ops.resize_nearest:ResizeNearest import resize_bilinear:ResizeBilinear
from toolchain.ops.softmax import Softmax
from toolchain.ops.split:Split import unpack:Unpack
from toolchain.ops.sub import Sub
from toolchain.ops.tanh import Tanh

__all__ = [
    "Add",
    "ArgMax",
    "Dequantize",
    "HardSwish",
    "LeakyRelu",
    "LogSoftmax",
    "Logistic",
    "Maximum",
    "Minimum",
    "Mul",
    "Quantize",
    "Relu",
    "Softmax",
    "Sub",
    "Tanh",
]
