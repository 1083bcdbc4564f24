"""CONV_2D: two-dimensional convolution, int8, per tensor or per output channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array
from toolchain.numerics import Activation
from toolchain.ops.base import Lowered, Number, Op, TensorType, require
from toolchain.ops.nibbles import scratch_of
from toolchain.ops.spatial import NO_PADS, Pads, Sliding
from toolchain.ops.weighted import (
    EITHER_BIAS,
    finish,
    require_weighted,
    weight_zero_points,
)
from toolchain.ops.wide import output_stage
from toolchain.ops.window import Whole, Window


@dataclass(frozen=True)
class Conv2D(Op):
    """Convolution of x (N, H, W, C) with weights (O, KH, KW, C / groups) and bias (O,).

    The number of groups follows from the shapes. Padding holds the input's zero point.
    Specification: TensorFlow Lite 8-bit quantisation specification, CONV_2D.
    """

    name: ClassVar[str] = "conv2d"
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pads: Pads = NO_PADS
    activation: Activation = Activation.NONE

    def sliding(self, operands: Operands) -> Sliding:
        """Return the geometry with the weights' kernel size."""
        _, height, width, _ = operands.input(1).shape
        return Sliding((height, width), self.stride, self.dilation, self.pads)

    def infer(self, operands: Operands) -> tuple[TensorType, ...]:
        """See `Op.infer`."""
        x, weights = operands.input(0), operands.input(1)
        require(len(x.shape) == 4 and len(weights.shape) == 4, self, "x and weights need rank 4")
        out_c, in_c = weights.shape[0], weights.shape[3]
        require(x.shape[3] % in_c == 0, self, f"{x.shape[3]} channels do not divide by {in_c}")
        groups = x.shape[3] // in_c
        require(out_c % groups == 0, self, f"{out_c} filters do not divide into {groups} groups")
        dtype = require_weighted(self, operands, out_c, EITHER_BIAS)
        out_h, out_w = self.sliding(operands).out_size(x.shape[1], x.shape[2])
        require(out_h > 0 and out_w > 0, self, "the kernel is larger than the padded map")
        return (TensorType((x.shape[0], out_h, out_w, out_c), dtype),)

    def reference(self, operands: Operands, values: Sequence[Array | None]) -> tuple[Array, ...]:
        """See `Op.reference`."""
        x = operands.input(0)
        out_c, _, _, in_c = operands.input(1).shape
        zero = weight_zero_points(operands.input(1)).reshape(-1, 1, 1, 1)
        # float64 products of 9-bit integers are exact, and a matrix product is fast.
        weights = operands.input(1).values.astype(np.float64) - zero
        centred = np.asarray(values[0], dtype=np.float64) - x.zero_point
        groups = x.shape[3] // in_c
        acc = np.zeros((*operands.output.shape[:3], groups, out_c // groups))
        for ky, kx, tap in self.sliding(operands).taps(centred):
            grouped = tap.reshape(*tap.shape[:3], groups, 1, in_c)
            kernel = weights[:, ky, kx].reshape(groups, out_c // groups, in_c)
            acc += (grouped @ kernel.swapaxes(1, 2))[..., 0, :]
        return (finish(acc.reshape(operands.output.shape), operands, self.activation, out_c),)

    def macs(self, operands: Operands) -> int:
        """See `Op.macs`."""
        _, kernel_h, kernel_w, in_c = operands.input(1).shape
        return operands.output.size * kernel_h * kernel_w * in_c

    def windows(self, operands: Operands) -> tuple[Window, ...]:
        """See `Op.windows`."""
        return (self.sliding(operands).window(Whole(operands.input(0).shape[3])),)

    def padded(self, rows: tuple[int, int] | None, columns: tuple[int, int] | None) -> Op | None:
        """See `Op.padded`."""
        return replace(self, pads=self.pads.replaced(rows, columns))

    def lower(self, operands: Operands) -> Lowered:
        """See `Op.lower`."""
        x, weights, y = operands.input(0), operands.input(1), operands.output
        sliding = self.sliding(operands)
        geometry: dict[str, Number] = {
            "in_w": x.shape[2],
            "in_c": x.shape[3],
            "out_w": y.shape[2],
            "out_c": y.shape[3],
            "kernel": weights.shape[1:3],
            "group_c": weights.shape[3],
            "groups": x.shape[3] // weights.shape[3],
            "stride_w": self.stride[1],
            "dilation_w": self.dilation[1],
            "pad_rows": sliding.row_taps(x, y).padded,
            "pad_left": self.pads.left,
        }
        filters = weights.values.reshape(y.shape[3], -1)
        kernel, numbers, tables = output_stage("conv2d", operands, self.activation, filters)
        scratch = scratch_of(weights, filters.shape[1])
        taps = sliding.row_taps(x, y)
        by_channel = scratch > 0  # filters that must be unpacked are taken one by one
        numbers = {**geometry, **numbers}
        return Lowered(kernel, numbers, tables, scratch, taps=taps, by_channel=by_channel)
