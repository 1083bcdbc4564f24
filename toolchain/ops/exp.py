"""EXP: ``e ** x``, int8 or int16."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from toolchain.ops.lookup import Lookup, Reals


@dataclass(frozen=True)
class Exp(Lookup):
    """Exponential of x."""

    name: ClassVar[str] = "exp"

    def real(self, x: Reals) -> Reals:
        """See `Lookup.real`."""
        return np.exp(x)
