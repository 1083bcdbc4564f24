"""PACK: tensors of one shape stacked along a new axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array
from toolchain.ops.base import Lowered, Op, TensorType, require
from toolchain.ops.movement import View, copies, copy, sources
from toolchain.ops.window import Window, whole


@dataclass(frozen=True)
class Pack(Op):
    """The inputs, all of one shape, as the slices of a new ``axis`` (not negative).

    The elements are copied as they are, whatever quantisation the output claims.
    """

    name: ClassVar[str] = "pack"
    axis: int = 0

    def infer(self, operands: Operands) -> tuple[TensorType, ...]:
        """See `Op.infer`."""
        first, count = operands.input(0), len(operands.inputs)
        require(0 <= self.axis <= len(first.shape), self, f"axis {self.axis} is out of range")
        for index in range(count):
            x = operands.input(index)
            same = x.shape == first.shape and x.dtype == first.dtype
            require(same, self, "the inputs need one shape and element type")
        shape = (*first.shape[: self.axis], count, *first.shape[self.axis :])
        return (TensorType(shape, first.dtype),)

    def reference(self, operands: Operands, values: Sequence[Array | None]) -> tuple[Array, ...]:
        """See `Op.reference`."""
        del operands
        return (np.stack([np.asarray(value) for value in values], axis=self.axis),)

    def windows(self, operands: Operands) -> tuple[Window, ...]:
        """See `Op.windows`."""
        return tuple(whole(x.shape) for x in operands.activations)

    def lower(self, operands: Operands) -> Lowered:
        """See `Op.lower`."""
        y = View.of(operands.output)
        x = View.of(operands.input(0))
        moves = [
            copy(name, x, "y0", y.cut(self.axis, index, 1).dropped(self.axis))
            for index, name in enumerate(sources(operands))
        ]
        return copies(operands, moves, parts=True)
