"""SPLIT and SPLIT_V: a tensor cut into pieces along one axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import ClassVar

import numpy as np

from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array
from toolchain.ops.base import Lowered, Op, TensorType, require
from toolchain.ops.movement import View, copies, copy
from toolchain.ops.window import Window, whole


@dataclass(frozen=True)
class Split(Op):
    """Pieces of x of the given ``sizes`` along ``axis`` (not negative), one output each."""

    name: ClassVar[str] = "split"
    axis: int
    sizes: tuple[int, ...]

    def infer(self, operands: Operands) -> tuple[TensorType, ...]:
        """See `Op.infer`."""
        x, axis = operands.input(0), self.axis
        require(0 <= axis < len(x.shape), self, f"axis {axis} of a tensor of rank {len(x.shape)}")
        fits = min(self.sizes, default=0) > 0 and sum(self.sizes) == x.shape[axis]
        require(fits, self, f"{x.shape[axis]} slices do not split into {list(self.sizes)}")
        shapes = ((*x.shape[:axis], size, *x.shape[axis + 1 :]) for size in self.sizes)
        return tuple(TensorType(shape, x.dtype) for shape in shapes)

    def reference(self, operands: Operands, values: Sequence[Array | None]) -> tuple[Array, ...]:
        """See `Op.reference`."""
        del operands
        starts = np.cumsum(self.sizes)[:-1]
        pieces = np.split(np.asarray(values[0]), starts, axis=self.axis)
        return tuple(np.ascontiguousarray(piece) for piece in pieces)

    def windows(self, operands: Operands) -> tuple[Window, ...]:
        """See `Op.windows`."""
        return (whole(operands.input(0).shape),)

    def lower(self, operands: Operands) -> Lowered:
        """See `Op.lower`."""
        x = View.of(operands.input(0))
        starts = accumulate(self.sizes, initial=0)
        pieces = zip(starts, self.sizes, strict=False)
        moves = [
            copy("x0", x.cut(self.axis, start, size), f"y{index}", View.of(operands.outputs[index]))
            for index, (start, size) in enumerate(pieces)
        ]
        return copies(operands, moves)
