"""RESIZE_BILINEAR: every output is interpolated between four inputs, int8."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from toolchain.floating_point import Float32
from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array, DType
from toolchain.numerics import Int64
from toolchain.ops.base import Lowered, Number, TensorType, require
from toolchain.ops.resize import Resize
from toolchain.ops.window import Resample

_ONE = 1 << 10  # coordinates have ten fractional bits


@dataclass(frozen=True)
class ResizeBilinear(Resize):
    """x (N, H, W, C) interpolated to (N, *size, C); input and output have one scale.

    Coordinates have ten fractional bits, as in TFLite's integer reference kernel; the sum of the
    four products is rounded half away from zero.

    Attributes:
        in_float: compute as TFLite's kernel for legacy uint8 does: weights, products and sums in
            float32, of values 128 higher, from left to right; rounded half up.
    """

    name: ClassVar[str] = "resize_bilinear"
    in_float: bool = False

    def infer(self, operands: Operands) -> tuple[TensorType, ...]:
        """See `Op.infer`."""
        require(operands.input(0).dtype == DType.INT8, self, "x must be int8")
        require(not (self.half_pixel and self.align_corners), self, "half_pixel or align_corners")
        return super().infer(operands)

    def resample(self, in_size: int, out_size: int) -> Resample:
        """See `Resize.resample`."""
        if self.in_float:
            lower, upper, _ = self._float_taps(in_size, out_size)
            return Resample(tuple(lower.tolist()), tuple(upper.tolist()))
        lower, upper, _ = self._taps(in_size, out_size).T.tolist()
        return Resample(tuple(lower), tuple(upper))

    def reference(self, operands: Operands, values: Sequence[Array | None]) -> tuple[Array, ...]:
        """See `Op.reference`."""
        if self.in_float:
            return (self._interpolate(np.asarray(values[0])),)
        shape, y = operands.input(0).shape, np.asarray(values[0], dtype=np.int64)
        for axis in (1, 2):
            lower, upper, fraction = self._taps(shape[axis], self.size[axis - 1]).T
            weight = np.expand_dims(fraction, tuple(range(1, 4 - axis)))
            y = y.take(lower, axis) * (_ONE - weight) + y.take(upper, axis) * weight
        rounded = np.sign(y) * ((np.abs(y) + _ONE * _ONE // 2) // (_ONE * _ONE))
        return (rounded.astype(np.int8),)

    def lower(self, operands: Operands) -> Lowered:
        """See `Op.lower`."""
        _, height, width, channels = operands.input(0).shape
        numbers: dict[str, Number] = {"out_w": self.size[1], "channels": channels}
        if self.in_float:
            return self._lower_float(operands, numbers)
        return Lowered(
            "resize_bilinear",
            numbers,
            {
                "rows": self._taps(height, self.size[0]).astype(np.int16),
                "columns": self._taps(width, self.size[1]).astype(np.int16),
            },
            taps=self.row_taps(operands, 2, 3),
        )

    def _lower_float(self, operands: Operands, numbers: dict[str, Number]) -> Lowered:
        _, height, width, _ = operands.input(0).shape
        tables = {}
        for name, sizes in (("row", (height, self.size[0])), ("column", (width, self.size[1]))):
            lower, upper, weight = self._float_taps(*sizes)
            tables[f"{name}s"] = np.stack([lower, upper], axis=1).astype(np.int16)
            tables[f"{name}_weights"] = np.stack([np.float32(1) - weight, weight], axis=1)
        taps = self.row_taps(operands, 2, 2, 2)
        return Lowered("resize_bilinear_float", numbers, tables, taps=taps)

    def _interpolate(self, x: Array) -> Array:
        """Return x resampled in float32, with the roundings of the legacy kernel."""
        top, bottom, down = self._float_taps(x.shape[1], self.size[0])
        left, right, across = self._float_taps(x.shape[2], self.size[1])
        down, across = down[:, None, None], across[:, None]
        up, back = np.float32(1) - down, np.float32(1) - across
        real = x.astype(np.float32) + np.float32(128)
        above, below = real.take(top, 1), real.take(bottom, 1)
        y = above.take(left, 2) * up * back
        y = y + below.take(left, 2) * down * back
        y = y + above.take(right, 2) * up * across
        y = y + below.take(right, 2) * down * across
        rounded: Array = (y + np.float32(0.5)).astype(np.int32) - 128
        return rounded.astype(np.int8)

    def _float_taps(self, in_size: int, out_size: int) -> tuple[Int64, Int64, Float32]:
        """Return lower input, upper input and weight of the upper one for every output."""
        aligned = self.align_corners and out_size > 1
        scale = np.float32(in_size - aligned) / np.float32(out_size - aligned)
        half = np.float32(0.5 if self.half_pixel else 0.0)
        position = (np.arange(out_size, dtype=np.float32) + half) * scale - half
        lower = np.maximum(np.floor(position), 0).astype(np.int64)
        upper = np.minimum(np.ceil(position), in_size - 1).astype(np.int64)
        weight = position - lower.astype(np.float32)
        return np.minimum(lower, in_size - 1), np.maximum(upper, 0), weight

    def _taps(self, in_size: int, out_size: int) -> Int64:
        """Return (lower input, upper input, weight of the upper one) for every output, (out, 3)."""
        aligned = self.align_corners and out_size > 1
        spans, gaps = in_size - aligned, out_size - aligned
        scale = (_ONE * spans + gaps // 2) // gaps
        position = np.arange(out_size, dtype=np.int64) * scale
        if self.half_pixel:
            position += scale // 2 - _ONE // 2
        lower = np.clip(position // _ONE, 0, in_size - 1)
        upper = np.clip(-(-position // _ONE), 0, in_size - 1)
        weight = np.where(lower == upper, 0, position - lower * _ONE)
        return np.stack([lower, upper, weight], axis=1)
