"""RESIZE_NEAREST_NEIGHBOR: every output is the nearest input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array
from toolchain.ops.base import Lowered
from toolchain.ops.resize import Resize
from toolchain.ops.window import Resample


@dataclass(frozen=True)
class ResizeNearest(Resize):
    """x (N, H, W, C) of any element type resampled to (N, *size, C), no value changed.

    Coordinates are computed in float32, as TFLite's reference kernel does: truncated, or rounded
    half away from zero with ``align_corners``.
    """

    name: ClassVar[str] = "resize_nearest"

    def resample(self, in_size: int, out_size: int) -> Resample:
        """See `Resize.resample`."""
        aligned = self.align_corners and out_size > 1
        scale = np.float32(in_size - aligned) / np.float32(out_size - aligned)
        offset = np.float32(0.5 if self.half_pixel else 0.0)
        exact = (np.arange(out_size, dtype=np.float32) + offset) * scale
        # The coordinates are not negative; adding a half in double precision is exact.
        nearest = np.floor(exact.astype(np.float64) + (0.5 if self.align_corners else 0.0))
        indices = tuple(np.minimum(nearest, in_size - 1).astype(int).tolist())
        return Resample(indices, indices)

    def reference(self, operands: Operands, values: Sequence[Array | None]) -> tuple[Array, ...]:
        """See `Op.reference`."""
        height, width = operands.input(0).shape[1:3]
        rows = self.resample(height, self.size[0]).lower
        columns = self.resample(width, self.size[1]).lower
        return (np.asarray(values[0]).take(rows, 1).take(columns, 2),)

    def lower(self, operands: Operands) -> Lowered:
        """See `Op.lower`."""
        _, height, width, channels = operands.input(0).shape
        return Lowered(
            "resize_nearest",
            {
                "out_w": self.size[1],
                "channels": channels,
                "itemsize": operands.output.dtype.itemsize,
            },
            {
                "rows": np.array(self.resample(height, self.size[0]).lower, np.int16),
                "columns": np.array(self.resample(width, self.size[1]).lower, np.int16),
            },
            taps=self.row_taps(operands, 1, 1),
        )
