"""Operators: one file each, five questions answered there (see `toolchain.ops.base`)."""

from toolchain.ops.base import Lowered, Op, TensorType
from toolchain.ops.conv2d import Conv2D
from toolchain.ops.depthwise_conv2d import DepthwiseConv2D
from toolchain.ops.fully_connected import FullyConnected
from toolchain.ops.reshape import Reshape

__all__ = ["Conv2D", "DepthwiseConv2D", "FullyConnected", "Lowered", "Op", "Reshape", "TensorType"]
