"""AVERAGE_POOL_2D: the mean of every window, int8."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array
from toolchain.numerics import clamp_range, saturate
from toolchain.ops.pool import Pool


@dataclass(frozen=True)
class AveragePool2D(Pool):
    """The mean of the inputs in each window, rounded half away from zero, then clamped.

    The mean is over the inputs inside the map: padding is not counted.
    Specification: TensorFlow Lite 8-bit quantisation specification, AVERAGE_POOL_2D.
    """

    name: ClassVar[str] = "average_pool2d"

    def reference(self, operands: Operands, values: Sequence[Array | None]) -> tuple[Array, ...]:
        """See `Op.reference`."""
        x, y = np.asarray(values[0], dtype=np.int64), operands.output
        total = sum(tap for _, _, tap in self.sliding.taps(x))
        count = np.asarray(sum(tap for _, _, tap in self.sliding.taps(np.ones_like(x))))
        mean = np.sign(total) * ((np.abs(total) + count // 2) // count)
        return (saturate(mean, clamp_range(self.activation, y), y.dtype),)
