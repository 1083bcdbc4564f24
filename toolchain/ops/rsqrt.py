"""RSQRT: the inverse of the square root, int8 or int16."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from toolchain.ops.lookup import Lookup, Reals


@dataclass(frozen=True)
class Rsqrt(Lookup):
    """``1 / sqrt(x)`` of x; of what is nothing or less it is the greatest output."""

    name: ClassVar[str] = "rsqrt"

    def real(self, x: Reals) -> Reals:
        """See `Lookup.real`."""
        return np.asarray(np.float32(1) / np.sqrt(np.maximum(x, np.float32(0))), np.float32)
