"""REDUCE_MAX: the greatest element over any axes, int8 or int16."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from toolchain.ir.tensor import Array
from toolchain.ops.reduction import ReduceExtremum


@dataclass(frozen=True)
class ReduceMax(ReduceExtremum):
    """The greatest element of x over ``axes``."""

    name: ClassVar[str] = "reduce_max"
    comparison: ClassVar[str] = ">"

    def extreme(self, x: Array) -> Array:
        """See `ReduceExtremum.extreme`."""
        return np.asarray(x.max(axis=self.axes))
