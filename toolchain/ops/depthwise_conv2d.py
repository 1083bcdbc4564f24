"""DEPTHWISE_CONV_2D: every input channel has filters of its own, int8."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array, DType
from toolchain.numerics import Activation
from toolchain.ops.base import Lowered, Number, Op, TensorType, require
from toolchain.ops.nibbles import scratch_of
from toolchain.ops.spatial import NO_PADS, Pads, Sliding
from toolchain.ops.weighted import (
    finish,
    require_weighted,
    weight_zero_points,
)
from toolchain.ops.wide import output_stage
from toolchain.ops.window import IDENTITY, Whole, Window

_MAX_SHIFT = 22


@dataclass(frozen=True)
class DepthwiseConv2D(Op):
    """Convolution of x (N, H, W, C) with weights (1, KH, KW, C * M) and bias (C * M,).

    Output channel ``c * M + m`` sees input channel ``c`` only; the multiplier M follows from the
    shapes. Padding holds the input's zero point.
    Specification: TensorFlow Lite 8-bit quantisation specification, DEPTHWISE_CONV_2D.
    """

    name: ClassVar[str] = "depthwise_conv2d"
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
        in_c, out_c = x.shape[3], weights.shape[3]
        require(weights.shape[0] == 1, self, "weights must be (1, KH, KW, channels)")
        require(out_c % in_c == 0, self, f"{out_c} filters are no multiple of {in_c} channels")
        dtype = require_weighted(self, operands, out_c)
        out_h, out_w = self.sliding(operands).out_size(x.shape[1], x.shape[2])
        require(out_h > 0 and out_w > 0, self, "the kernel is larger than the padded map")
        return (TensorType((x.shape[0], out_h, out_w, out_c), dtype),)

    def reference(self, operands: Operands, values: Sequence[Array | None]) -> tuple[Array, ...]:
        """See `Op.reference`."""
        x, out_c = operands.input(0), operands.output.shape[3]
        kind = np.int64 if x.dtype is DType.INT16 else np.int32
        zero = weight_zero_points(operands.input(1)).astype(kind)
        weights = operands.input(1).values[0].astype(kind) - zero
        centred = np.asarray(values[0], dtype=kind) - x.zero_point
        repeated = np.repeat(centred, out_c // x.shape[3], axis=3)
        acc = np.zeros(operands.output.shape, kind)
        for ky, kx, tap in self.sliding(operands).taps(repeated):
            acc += tap * weights[ky, kx]
        return (finish(acc, operands, self.activation, out_c),)

    def macs(self, operands: Operands) -> int:
        """See `Op.macs`."""
        _, kernel_h, kernel_w, _ = operands.input(1).shape
        return operands.output.size * kernel_h * kernel_w

    def windows(self, operands: Operands) -> tuple[Window, ...]:
        """See `Op.windows`."""
        in_c, out_c = operands.input(0).shape[3], operands.input(1).shape[3]
        return (self.sliding(operands).window(IDENTITY if in_c == out_c else Whole(in_c)),)

    def padded(self, rows: tuple[int, int] | None, columns: tuple[int, int] | None) -> Op | None:
        """See `Op.padded`."""
        return replace(self, pads=self.pads.replaced(rows, columns))

    def lower(self, operands: Operands) -> Lowered:
        """See `Op.lower`."""
        x, weights, y = operands.input(0), operands.input(1), operands.output
        taps = self.sliding(operands).row_taps(x, y)
        geometry: dict[str, Number] = {
            "in_w": x.shape[2],
            "in_c": x.shape[3],
            "multiplier": y.shape[3] // x.shape[3],
            "out_w": y.shape[2],
            "kernel": weights.shape[1:3],
            "stride_w": self.stride[1],
            "dilation_w": self.dilation[1],
            "pad_rows": taps.padded,
            "pad_left": self.pads.left,
        }
        past = (y.shape[2] - 1) * self.stride[1] - self.pads.left + weights.shape[2] - x.shape[2]
        filters = weights.values.reshape(-1, y.shape[3]).T
        kernel, numbers, tables = output_stage(
            "depthwise_conv2d", operands, self.activation, filters
        )
        if x.dtype is DType.INT16 or weights.dtype is DType.INT4:
            scratch = scratch_of(weights, filters.shape[1])
            unpacked = scratch > 0
            numbers = {**geometry, **numbers}
            return Lowered(kernel, numbers, tables, scratch, taps=taps, by_channel=unpacked)
        dilated = past + (weights.shape[2] - 1) * (self.dilation[1] - 1)
        by_channel = self.dilation[1] == 1 and taps.sees_rows
        fits = x.shape[3] == y.shape[3] and taps.out_row_size <= taps.in_row_size
        return Lowered(
            kernel,
            {
                **geometry,
                # Columns of the last window that are padding, and columns of a map within a window.
                "pad_right": max(0, past),
                "pad_columns": self.pads.left > 0 or dilated > 0,
                "narrow": x.shape[2] if x.shape[2] < weights.shape[2] else 0,
                "by_channel": by_channel and y.shape[2] > 1,
                "right": _shifts_right(tables, filters.shape[1]),
                **numbers,
            },
            tables,
            taps=taps,
            by_channel=by_channel,
            over_row=by_channel and fits and self.pads.left < weights.shape[2],
        )


def _shifts_right(tables: Mapping[str, Array], taps: int) -> bool:
    """Tell whether sums stay below 2**30 and each is shifted right, by 1 to 22 bits."""
    reach = np.abs(tables["bias"].astype(np.int64)).max() + taps * 255 * 255
    shift = tables["shift"]
    return bool(reach < 2**30 and shift.min() >= -_MAX_SHIFT and shift.max() < 0)
