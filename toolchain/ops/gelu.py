"""GELU: ``x * P(normal <= x)``, int8 or int16."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from toolchain.error_function import erfc
from toolchain.ops.lookup import Lookup, Reals


@dataclass(frozen=True)
class Gelu(Lookup):
    """Gaussian error linear unit of x, exact or by its approximation with tanh.

    Reference: D. Hendrycks and K. Gimpel, "Gaussian Error Linear Units", 2016, sections 1 and 2.
    """

    name: ClassVar[str] = "gelu"
    approximate: bool = False

    def real(self, x: Reals) -> Reals:
        """See `Lookup.real`."""
        if self.approximate:
            inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
            return np.asarray(0.5 * x * (1 + np.tanh(inner)), np.float32)
        return np.asarray(0.5 * x * erfc(-x * math.sqrt(0.5)), np.float32)
