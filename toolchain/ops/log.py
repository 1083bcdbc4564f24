"""LOG: the natural logarithm, int8 or int16."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from toolchain.ops.lookup import Lookup, Reals


@dataclass(frozen=True)
class Log(Lookup):
    """Logarithm of x; of nothing and less it is the least output."""

    name: ClassVar[str] = "log"

    def real(self, x: Reals) -> Reals:
        """See `Lookup.real`."""
        return np.where(x > 0, np.log(np.maximum(x, np.finfo(np.float32).tiny)), -np.inf)
