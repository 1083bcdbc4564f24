"""ERF: the error function, int8 or int16."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from toolchain.error_function import erfc
from toolchain.ops.lookup import Lookup, Reals


@dataclass(frozen=True)
class Erf(Lookup):
    """``2 / sqrt(pi)`` times the integral of ``exp(-t**2)`` from 0 to x."""

    name: ClassVar[str] = "erf"

    def real(self, x: Reals) -> Reals:
        """See `Lookup.real`."""
        return 1 - erfc(x)
