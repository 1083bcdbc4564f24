"""RESHAPE: another shape for the same elements; a view that moves nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import and_
from typing import ClassVar

import numpy as np

from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array
from toolchain.ops.base import Lowered, Op, TensorType, require
from toolchain.ops.window import IDENTITY, Whole, Window, whole


@dataclass(frozen=True)
class Reshape(Op):
    """x with another shape, fully known. The bytes stay, whatever quantisation the output claims.

    SQUEEZE and EXPAND_DIMS are imported as this too.
    """

    name: ClassVar[str] = "reshape"
    shape: tuple[int, ...]

    def infer(self, operands: Operands) -> tuple[TensorType, ...]:
        """See `Op.infer`."""
        x = operands.input(0)
        sizes = f"{list(x.shape)} has not as many elements as {list(self.shape)}"
        require(math.prod(self.shape) == x.size, self, sizes)
        return (TensorType(self.shape, x.dtype),)

    def reference(self, operands: Operands, values: Sequence[Array | None]) -> tuple[Array, ...]:
        """See `Op.reference`."""
        del operands
        return (np.asarray(values[0]).reshape(self.shape),)

    def windows(self, operands: Operands) -> tuple[Window, ...]:
        """See `Op.windows`."""
        shape = operands.input(0).shape
        if len(shape) != len(self.shape):
            return (whole(shape),)
        same = accumulate((a == b for a, b in zip(shape, self.shape, strict=True)), and_)
        pairs = zip(shape, same, strict=True)
        return (Window(tuple(IDENTITY if equal else Whole(size) for size, equal in pairs)),)

    def lower(self, operands: Operands) -> Lowered:
        """See `Op.lower`."""
        del operands
        return Lowered("", {})
