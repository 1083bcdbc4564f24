"""AVERAGE_POOL_2D: the mean of every window, int8."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array, DType
from toolchain.numerics import clamp_range, saturate
from toolchain.ops.base import Lowered
from toolchain.ops.fold import lower_fold
from toolchain.ops.pool import Pool
from toolchain.ops.spatial import NO_PADS


@dataclass(frozen=True)
class AveragePool2D(Pool):
    """The mean of the inputs in each window, rounded half away from zero, then clamped.

    The mean is over the inputs inside the map: padding is not counted.
    Specification: TensorFlow Lite 8-bit quantisation specification, AVERAGE_POOL_2D.

    Attributes:
        half_up: ties go up instead: what rounding half away from zero means for the uint8 values
            of a legacy file, which are never negative.
    """

    name: ClassVar[str] = "average_pool2d"
    half_up: bool = False

    def reference(self, operands: Operands, values: Sequence[Array | None]) -> tuple[Array, ...]:
        """See `Op.reference`."""
        x, y = np.asarray(values[0], dtype=np.int64), operands.output
        total = sum(tap for _, _, tap in self.sliding.taps(x))
        count = np.asarray(sum(tap for _, _, tap in self.sliding.taps(np.ones_like(x))))
        if self.half_up:
            mean = (total + count // 2) // count
        else:
            mean = np.sign(total) * ((np.abs(total) + count // 2) // count)
        return (saturate(mean, clamp_range(self.activation, y), y.dtype),)

    def lower(self, operands: Operands) -> Lowered:
        """See `Op.lower`."""
        lowered = super().lower(operands)
        return replace(lowered, numbers={**lowered.numbers, "half_up": self.half_up})

    def fold(self, operands: Operands) -> Lowered | None:
        """See `Op.fold`: a window that is the whole map."""
        x, y = operands.input(0), operands.output
        if (
            x.dtype is not DType.INT8
            or x.shape[0] != 1
            or self.kernel != x.shape[1:3]
            or self.pads != NO_PADS
        ):
            return None
        low, high = clamp_range(self.activation, y)
        return lower_fold(x, 0, {"half_up": self.half_up, "y_min": low, "y_max": high})
