"""ADD: elementwise sum, int8, with broadcasting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from toolchain.ir.tensor import Tensor
from toolchain.ops.scaled_sum import LEFT_SHIFT, ScaledSum


@dataclass(frozen=True)
class Add(ScaledSum):
    """``a + b`` of int8 tensors of any scales, then a fused activation."""

    name: ClassVar[str] = "add"
    sign: ClassVar[int] = 1

    def real_scales(self, a: Tensor, b: Tensor, y: Tensor) -> tuple[float, float, float]:
        """See `ScaledSum.real_scales`."""
        common = 2 * max(a.scale, b.scale)
        return a.scale / common, b.scale / common, common / (2 ** LEFT_SHIFT[y.dtype] * y.scale)
