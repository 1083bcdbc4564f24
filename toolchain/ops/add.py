"""ADD: elementwise sum, int8, with broadcasting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from toolchain.ops.scaled_sum import ScaledSum


@dataclass(frozen=True)
class Add(ScaledSum):
    """``a + b`` of int8 tensors of any scales, then a fused activation."""

    name: ClassVar[str] = "add"
    sign: ClassVar[int] = 1
