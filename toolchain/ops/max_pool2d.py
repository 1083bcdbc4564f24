"""MAX_POOL_2D: the greatest input of every window, int8."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import ClassVar

import numpy as np

from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array
from toolchain.numerics import clamp_range, saturate
from toolchain.ops.pool import Pool


@dataclass(frozen=True)
class MaxPool2D(Pool):
    """The greatest input of each window, then clamped.

    Specification: TensorFlow Lite 8-bit quantisation specification, MAX_POOL_2D.
    """

    name: ClassVar[str] = "max_pool2d"

    def reference(self, operands: Operands, values: Sequence[Array | None]) -> tuple[Array, ...]:
        """See `Op.reference`."""
        y = operands.output
        taps = self.sliding.taps(np.asarray(values[0]), fill=y.dtype.limits[0])
        greatest = reduce(np.maximum, (tap for _, _, tap in taps))
        return (saturate(greatest, clamp_range(self.activation, y), y.dtype),)
