"""TRANSPOSE_CONV: transposed convolution, int8, per tensor or per output channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array, DType
from toolchain.numerics import Activation
from toolchain.ops.base import Lowered, Number, Op, TensorType, require
from toolchain.ops.spatial import NO_PADS, Pads
from toolchain.ops.weighted import (
    finish,
    require_weighted,
    weight_zero_points,
)
from toolchain.ops.wide import output_stage
from toolchain.ops.window import IDENTITY, Spread, Whole, Window


@dataclass(frozen=True)
class TransposeConv(Op):
    """Transposed convolution of x (N, H, W, I) with weights (O, KH, KW, I) and bias (O,).

    Input (i, j) adds to the KH x KW outputs from (i * stride - top, j * stride - left) on. The
    output has ``(H - 1) * stride + KH - top - bottom`` rows, so that a negative ``bottom`` (or
    ``right``) stands for rows (columns) behind the last that any input reaches.
    Specification: TensorFlow Lite 8-bit quantisation specification, TRANSPOSE_CONV.
    """

    name: ClassVar[str] = "transpose_conv"
    stride: tuple[int, int] = (1, 1)
    pads: Pads = NO_PADS
    activation: Activation = Activation.NONE

    def infer(self, operands: Operands) -> tuple[TensorType, ...]:
        """See `Op.infer`."""
        x, weights = operands.input(0), operands.input(1)
        require(len(x.shape) == 4 and len(weights.shape) == 4, self, "x and weights need rank 4")
        out_c, kernel_h, kernel_w, in_c = weights.shape
        require(x.shape[3] == in_c, self, f"weights are for {in_c} channels, not {x.shape[3]}")
        dtype = require_weighted(self, operands, out_c)
        require(weights.dtype is DType.INT8, self, "weights must be int8")
        require(min(self.pads.top, self.pads.left) >= 0, self, "top and left may not be negative")
        pads, (full_h, full_w) = self.pads, self._full(x.shape, (kernel_h, kernel_w))
        out_h, out_w = full_h - pads.top - pads.bottom, full_w - pads.left - pads.right
        require(out_h > 0 and out_w > 0, self, "the padding leaves no output")
        return (TensorType((x.shape[0], out_h, out_w, out_c), dtype),)

    def reference(self, operands: Operands, values: Sequence[Array | None]) -> tuple[Array, ...]:
        """See `Op.reference`."""
        x, weights, y = operands.input(0), operands.input(1), operands.output
        out_c, kernel_h, kernel_w, _ = weights.shape
        zero = weight_zero_points(weights).reshape(-1, 1, 1, 1)
        # float64 products of 9-bit integers are exact, and a matrix product is fast.
        matrix = weights.values.astype(np.float64) - zero
        centred = np.asarray(values[0], dtype=np.float64) - x.zero_point
        full_h, full_w = self._full(x.shape, (kernel_h, kernel_w))
        pads, (step_h, step_w) = self.pads, self.stride
        behind = max(0, -pads.bottom), max(0, -pads.right)
        full = np.zeros((x.shape[0], full_h + behind[0], full_w + behind[1], out_c))
        for ky, kx in np.ndindex(kernel_h, kernel_w):
            rows = slice(ky, ky + (x.shape[1] - 1) * step_h + 1, step_h)
            columns = slice(kx, kx + (x.shape[2] - 1) * step_w + 1, step_w)
            full[:, rows, columns] += centred @ matrix[:, ky, kx].T
        _, out_h, out_w, _ = y.shape
        acc = full[:, pads.top : pads.top + out_h, pads.left : pads.left + out_w]
        return (finish(acc, operands, self.activation, out_c),)

    def macs(self, operands: Operands) -> int:
        """See `Op.macs`."""
        out_c, kernel_h, kernel_w, _ = operands.input(1).shape
        return operands.input(0).size * kernel_h * kernel_w * out_c

    def windows(self, operands: Operands) -> tuple[Window, ...]:
        """See `Op.windows`."""
        _, kernel_h, kernel_w, in_c = operands.input(1).shape
        rows = Spread(kernel_h, self.stride[0], self.pads.top)
        columns = Spread(kernel_w, self.stride[1], self.pads.left)
        return (Window((IDENTITY, rows, columns, Whole(in_c))),)

    def lower(self, operands: Operands) -> Lowered:
        """See `Op.lower`."""
        x, weights, y = operands.input(0), operands.input(1), operands.output
        geometry: dict[str, Number] = {
            "batch": x.shape[0],
            "in_size": x.shape[1:3],
            "in_c": x.shape[3],
            "out_size": y.shape[1:3],
            "out_c": y.shape[3],
            "kernel": weights.shape[1:3],
            "stride": self.stride,
            "pad_top": self.pads.top,
            "pad_left": self.pads.left,
        }
        filters = weights.values.reshape(y.shape[3], -1)
        kernel, numbers, tables = output_stage("transpose_conv", operands, self.activation, filters)
        return Lowered(kernel, {**geometry, **numbers}, tables, in_order=True)

    def _full(self, in_shape: tuple[int, ...], kernel: tuple[int, int]) -> tuple[int, int]:
        """Return the rows and columns that the inputs reach, before anything is cut off."""
        sizes = zip(in_shape[1:3], self.stride, kernel, strict=True)
        height, width = ((count - 1) * step + extent for count, step, extent in sizes)
        return height, width
