"""Operators: one file each, five questions answered there (see `toolchain.ops.base`)."""

from toolchain.ops.base import Lowered, Op, TensorType
from toolchain.ops.conv2d import Conv2D

__all__ = ["Conv2D", "Lowered", "Op", "TensorType"]
