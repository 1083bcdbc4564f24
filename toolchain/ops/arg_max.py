"""ARG_MAX: the index of the largest element along an axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np

from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array, DType
from toolchain.ops.base import Lowered, Op, TensorType, require
from toolchain.ops.window import IDENTITY, Whole, Window


@dataclass(frozen=True)
class ArgMax(Op):
    """First index of the maximum of x along ``axis``, which is dropped; int32 or int64."""

    name: ClassVar[str] = "arg_max"
    axis: int = -1

    def infer(self, operands: Operands) -> tuple[TensorType, ...]:
        """See `Op.infer`."""
        x, (y,) = operands.input(0), operands.outputs
        rank = len(x.shape)
        require(-rank <= self.axis < rank, self, f"axis {self.axis} is not of rank {rank}")
        require(y.dtype in {DType.INT32, DType.INT64}, self, "indices must be int32 or int64")
        axis = self.axis % rank
        return (TensorType(x.shape[:axis] + x.shape[axis + 1 :], y.dtype),)

    def reference(self, operands: Operands, values: Sequence[Array | None]) -> tuple[Array, ...]:
        """See `Op.reference`."""
        indices = np.argmax(np.asarray(values[0]), axis=self.axis)
        return (np.asarray(indices, dtype=operands.output.dtype.numpy),)

    def windows(self, operands: Operands) -> tuple[Window, ...]:
        """See `Op.windows`."""
        shape = operands.input(0).shape
        axis = self.axis % len(shape)  # those behind it move to the front
        return (Window((IDENTITY,) * axis + tuple(Whole(size) for size in shape[axis:])),)

    def lower(self, operands: Operands) -> Lowered:
        """See `Op.lower`."""
        shape = operands.input(0).shape
        axis = self.axis % len(shape)
        outer, inner = prod(shape[:axis]), prod(shape[axis + 1 :])
        return Lowered("arg_max", {"outer": outer, "count": shape[axis], "inner": inner})
