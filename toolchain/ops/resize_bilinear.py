"""RESIZE_BILINEAR: every output is interpolated between four inputs, int8."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array, DType
from toolchain.numerics import Int64
from toolchain.ops.base import Lowered, TensorType, require
from toolchain.ops.resize import Resize
from toolchain.ops.window import Resample

_ONE = 1 << 10  # coordinates have ten fractional bits


@dataclass(frozen=True)
class ResizeBilinear(Resize):
    """x (N, H, W, C) interpolated to (N, *size, C); input and output have one scale.

    Coordinates have ten fractional bits, as in TFLite's integer reference kernel; the sum of the
    four products is rounded half away from zero.
    """

    name: ClassVar[str] = "resize_bilinear"

    def infer(self, operands: Operands) -> tuple[TensorType, ...]:
        """See `Op.infer`."""
        require(operands.input(0).dtype == DType.INT8, self, "x must be int8")
        require(not (self.half_pixel and self.align_corners), self, "half_pixel or align_corners")
        return super().infer(operands)

    def resample(self, in_size: int, out_size: int) -> Resample:
        """See `Resize.resample`."""
        lower, upper, _ = self._taps(in_size, out_size).T.tolist()
        return Resample(tuple(lower), tuple(upper))

    def reference(self, operands: Operands, values: Sequence[Array | None]) -> tuple[Array, ...]:
        """See `Op.reference`."""
        shape, y = operands.input(0).shape, np.asarray(values[0], dtype=np.int64)
        for axis in (1, 2):
            lower, upper, fraction = self._taps(shape[axis], self.size[axis - 1]).T
            weight = np.expand_dims(fraction, tuple(range(1, 4 - axis)))
            y = y.take(lower, axis) * (_ONE - weight) + y.take(upper, axis) * weight
        rounded = np.sign(y) * ((np.abs(y) + _ONE * _ONE // 2) // (_ONE * _ONE))
        return (rounded.astype(np.int8),)

    def lower(self, operands: Operands) -> Lowered:
        """See `Op.lower`."""
        batch, height, width, channels = operands.input(0).shape
        return Lowered(
            "resize_bilinear",
            {
                "batch": batch,
                "in_size": (height, width),
                "out_size": self.size,
                "channels": channels,
            },
            {
                "rows": self._taps(height, self.size[0]).astype(np.int16),
                "columns": self._taps(width, self.size[1]).astype(np.int16),
            },
            in_order=True,
        )

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
