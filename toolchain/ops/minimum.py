"""MINIMUM: the smaller of two elements, with broadcasting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from toolchain.ops.extremum import Extremum


@dataclass(frozen=True)
class Minimum(Extremum):
    """Elementwise minimum of two int8 tensors of one quantisation."""

    name: ClassVar[str] = "minimum"
    comparison: ClassVar[str] = "<"
