"""REDUCE_MIN: the least element over any axes, int8 or int16."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from toolchain.ir.tensor import Array
from toolchain.ops.reduction import ReduceExtremum


@dataclass(frozen=True)
class ReduceMin(ReduceExtremum):
    """The least element of x over ``axes``."""

    name: ClassVar[str] = "reduce_min"
    comparison: ClassVar[str] = "<"

    def extreme(self, x: Array) -> Array:
        """See `ReduceExtremum.extreme`."""
        return np.asarray(x.min(axis=self.axes))
