"""UNPACK: the slices of one axis as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array
from toolchain.ops.base import Lowered, Op, TensorType, require
from toolchain.ops.movement import View, copies, copy
from toolchain.ops.window import Window, whole


@dataclass(frozen=True)
class Unpack(Op):
    """The slices of x along ``axis`` (not negative), one output each, without that axis."""

    name: ClassVar[str] = "unpack"
    axis: int = 0

    def infer(self, operands: Operands) -> tuple[TensorType, ...]:
        """See `Op.infer`."""
        x, axis = operands.input(0), self.axis
        require(0 <= axis < len(x.shape), self, f"axis {axis} of a tensor of rank {len(x.shape)}")
        made = TensorType((*x.shape[:axis], *x.shape[axis + 1 :]), x.dtype)
        return (made,) * x.shape[axis]

    def reference(self, operands: Operands, values: Sequence[Array | None]) -> tuple[Array, ...]:
        """See `Op.reference`."""
        slices = np.moveaxis(np.asarray(values[0]), self.axis, 0)
        return tuple(np.array(slices[index]) for index in range(len(operands.outputs)))

    def windows(self, operands: Operands) -> tuple[Window, ...]:
        """See `Op.windows`."""
        return (whole(operands.input(0).shape),)

    def lower(self, operands: Operands) -> Lowered:
        """See `Op.lower`."""
        x = View.of(operands.input(0))
        moves = [
            copy("x0", x.cut(self.axis, i, 1).dropped(self.axis), f"y{i}", View.of(y))
            for i, y in enumerate(operands.outputs)
        ]
        return copies(operands, moves)
