"""PAD and PADV2: a border of one value around a tensor of any rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array
from toolchain.ops.base import Lowered, Op, TensorType, require
from toolchain.ops.movement import View, copies, copy
from toolchain.ops.window import Slide, Window


@dataclass(frozen=True)
class Pad(Op):
    """x with ``before`` and ``after`` elements added along each axis.

    Attributes:
        before: elements in front, one count per axis.
        after: elements behind, one count per axis.
        value: the border's value as it is stored; ``None`` for the one that stands for zero (the
            output's zero point).
    """

    name: ClassVar[str] = "pad"
    before: tuple[int, ...]
    after: tuple[int, ...]
    value: int | None = None

    def infer(self, operands: Operands) -> tuple[TensorType, ...]:
        """See `Op.infer`."""
        x = operands.input(0)
        rank = len(x.shape)
        paired = len(self.before) == len(self.after) == rank
        require(paired, self, f"{rank} pairs of pads are needed")
        require(min((*self.before, *self.after), default=0) >= 0, self, "pads may not be negative")
        sizes = zip(x.shape, self.before, self.after, strict=True)
        return (TensorType(tuple(sum(size) for size in sizes), x.dtype),)

    def border(self, operands: Operands) -> int:
        """Return the border's value as it is stored."""
        if self.value is not None:
            return self.value
        return operands.output.zero_point if operands.output.quant else 0

    def reference(self, operands: Operands, values: Sequence[Array | None]) -> tuple[Array, ...]:
        """See `Op.reference`."""
        pads = list(zip(self.before, self.after, strict=True))
        return (np.pad(np.asarray(values[0]), pads, constant_values=self.border(operands)),)

    def windows(self, operands: Operands) -> tuple[Window, ...]:
        """See `Op.windows`."""
        del operands
        return (Window(tuple(Slide(pad=before) for before in self.before)),)

    def padded(self, rows: tuple[int, int] | None, columns: tuple[int, int] | None) -> Op | None:
        """See `Op.padded`: for NHWC maps."""
        if len(self.before) != 4:
            return None
        pads = zip(self.before, self.after, strict=True)
        merged = [new or old for new, old in zip((None, rows, columns, None), pads, strict=True)]
        return replace(self, before=tuple(b for b, _ in merged), after=tuple(a for _, a in merged))

    def lower(self, operands: Operands) -> Lowered:
        """See `Op.lower`."""
        x, target = operands.input(0), View.of(operands.output)
        for axis, begin in enumerate(self.before):
            target = target.cut(axis, begin, x.shape[axis])
        return copies(operands, [copy("x0", View.of(x), "y0", target)], fill=self.border(operands))
