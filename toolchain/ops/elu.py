"""ELU: x where positive, ``e ** x - 1`` elsewhere, int8 or int16."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from toolchain.ops.lookup import Lookup, Reals


@dataclass(frozen=True)
class Elu(Lookup):
    """Exponential linear unit of x."""

    name: ClassVar[str] = "elu"

    def real(self, x: Reals) -> Reals:
        """See `Lookup.real`."""
        return np.where(x >= 0, x, np.expm1(np.minimum(x, 0)))
