"""SUB: elementwise difference, int8, with broadcasting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from toolchain.ir.tensor import Tensor
from toolchain.ops.scaled_sum import LEFT_SHIFT, ScaledSum


@dataclass(frozen=True)
class Sub(ScaledSum):
    """``a - b`` of int8 tensors of any scales, then a fused activation."""

    name: ClassVar[str] = "sub"
    sign: ClassVar[int] = -1

    def real_scales(self, a: Tensor, b: Tensor, y: Tensor) -> tuple[float, float, float]:
        """See `ScaledSum.real_scales`: unlike ADD's, TFLite Micro forms them in float32."""
        scale_a, scale_b, scale_y = (np.float32(tensor.scale) for tensor in (a, b, y))
        common = np.float32(2) * max(scale_a, scale_b)
        unit = np.float32(2 ** LEFT_SHIFT[y.dtype])
        return float(scale_a / common), float(scale_b / common), float(common / (unit * scale_y))
