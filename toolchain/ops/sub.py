"""SUB: elementwise difference, int8, with broadcasting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from toolchain.ops.scaled_sum import ScaledSum


@dataclass(frozen=True)
class Sub(ScaledSum):
    """``a - b`` of int8 tensors of any scales, then a fused activation."""

    name: ClassVar[str] = "sub"
    sign: ClassVar[int] = -1
