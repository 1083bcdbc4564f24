"""SQRT: the square root, int8 or int16."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from toolchain.ops.lookup import Lookup, Reals


@dataclass(frozen=True)
class Sqrt(Lookup):
    """Square root of x; of what is less than nothing it is zero."""

    name: ClassVar[str] = "sqrt"

    def real(self, x: Reals) -> Reals:
        """See `Lookup.real`."""
        return np.sqrt(np.maximum(x, np.float32(0)))
