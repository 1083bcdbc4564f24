"""GATHER by constant indices: slices along an axis in any order, repeated or left out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array, DType
from toolchain.ops.base import Lowered, Number, Op, TensorType, require
from toolchain.ops.window import IDENTITY, Whole, Window


@dataclass(frozen=True)
class Gather(Op):
    """``x[..., indices, ...]`` along ``axis``, of any element type; no index is negative.

    Mirrored borders, copies and permutations along one axis are this too.
    """

    name: ClassVar[str] = "gather"
    axis: int
    indices: tuple[int, ...]

    def infer(self, operands: Operands) -> tuple[TensorType, ...]:
        """See `Op.infer`."""
        x = operands.input(0)
        require(0 <= self.axis < len(x.shape), self, f"axis {self.axis} of {list(x.shape)}")
        size = x.shape[self.axis]
        legal = bool(self.indices) and min(self.indices) >= 0 and max(self.indices) < size
        require(legal, self, f"an index is not below {size}")
        shape = (*x.shape[: self.axis], len(self.indices), *x.shape[self.axis + 1 :])
        return (TensorType(shape, x.dtype),)

    def reference(self, operands: Operands, values: Sequence[Array | None]) -> tuple[Array, ...]:
        """See `Op.reference`."""
        del operands
        return (np.asarray(values[0]).take(self.indices, self.axis),)

    def windows(self, operands: Operands) -> tuple[Window, ...]:
        """See `Op.windows`."""
        sizes = enumerate(operands.input(0).shape)
        return (Window(tuple(Whole(n) if axis == self.axis else IDENTITY for axis, n in sizes)),)

    def lower(self, operands: Operands) -> Lowered:
        """See `Op.lower`."""
        x = operands.input(0)
        count = x.shape[self.axis]
        numbers: dict[str, Number] = {
            "outer": math.prod(x.shape[: self.axis]),
            "size": count,
            "count": len(self.indices),
            "inner": math.prod(x.shape[self.axis + 1 :]),
            "itemsize": x.dtype.itemsize,
        }
        places = (DType.UINT8, DType.INT16, DType.INT32)
        dtype = next(one for one in places if count - 1 <= one.limits[1])
        numbers["index"] = f"{dtype.value}_t"
        return Lowered("gather", numbers, {"indices": np.array(self.indices, dtype.numpy)})
