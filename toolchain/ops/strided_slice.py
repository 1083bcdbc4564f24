"""STRIDED_SLICE (and SLICE): every n-th element of a range along each axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array
from toolchain.ops.base import Lowered, Op, TensorType, require
from toolchain.ops.movement import View, copies, copy
from toolchain.ops.window import Slide, Whole, Window, whole


@dataclass(frozen=True)
class StridedSlice(Op):
    """``x[begin:end:strides]`` along every axis, resolved: no masks, no counting from the back.

    Attributes:
        begin: first index per axis.
        end: index behind the last per axis; may be -1 where the stride is negative.
        strides: step per axis, not 0.
        shrink: axes of one slice that the output does not have.
    """

    name: ClassVar[str] = "strided_slice"
    begin: tuple[int, ...]
    end: tuple[int, ...]
    strides: tuple[int, ...]
    shrink: tuple[int, ...] = ()

    def infer(self, operands: Operands) -> tuple[TensorType, ...]:
        """See `Op.infer`."""
        x = operands.input(0)
        ranks = {len(x.shape), len(self.begin), len(self.end), len(self.strides)}
        require(len(ranks) == 1, self, "begin, end and strides need one value per axis")
        require(0 not in self.strides, self, "strides may not be 0")
        ranges = zip(self._ranges, x.shape, strict=True)
        legal = all(r and min(r) >= 0 and max(r) < size for r, size in ranges)
        require(legal, self, f"{self.begin}:{self.end}:{self.strides} of {list(x.shape)}")
        single = all(len(self._ranges[a]) == 1 and self.strides[a] > 0 for a in self.shrink)
        require(single, self, "a dropped axis needs one slice and a positive stride")
        kept = (len(r) for axis, r in enumerate(self._ranges) if axis not in self.shrink)
        return (TensorType(tuple(kept), x.dtype),)

    def reference(self, operands: Operands, values: Sequence[Array | None]) -> tuple[Array, ...]:
        """See `Op.reference`."""
        picked = np.asarray(values[0])
        for axis, taken in enumerate(self._ranges):
            picked = np.take(picked, taken, axis)
        return (picked.reshape(operands.output.shape),)

    def windows(self, operands: Operands) -> tuple[Window, ...]:
        """See `Op.windows`."""
        shape = operands.input(0).shape
        if self.shrink:
            return (whole(shape),)
        axes = zip(shape, self.begin, self.strides, strict=True)
        return (
            Window(
                tuple(
                    Slide(stride=step, pad=-begin) if step > 0 else Whole(size)
                    for size, begin, step in axes
                )
            ),
        )

    def lower(self, operands: Operands) -> Lowered:
        """See `Op.lower`."""
        source = View.of(operands.input(0))
        for axis, taken in enumerate(self._ranges):
            source = source.cut(axis, taken.start, len(taken), taken.step)
        for axis in sorted(self.shrink, reverse=True):
            source = source.dropped(axis)
        return copies(operands, [copy("x0", source, "y0", View.of(operands.output))])

    @property
    def _ranges(self) -> tuple[range, ...]:
        """Return the indices taken along every axis."""
        return tuple(map(range, self.begin, self.end, self.strides))
