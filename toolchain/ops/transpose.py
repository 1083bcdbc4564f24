"""TRANSPOSE: the axes in another order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array
from toolchain.ops.base import Lowered, Op, TensorType, require
from toolchain.ops.movement import View, copies, copy
from toolchain.ops.window import IDENTITY, Whole, Window


@dataclass(frozen=True)
class Transpose(Op):
    """x with its axes permuted: axis ``i`` of the output is axis ``perm[i]`` of x."""

    name: ClassVar[str] = "transpose"
    perm: tuple[int, ...]

    def infer(self, operands: Operands) -> tuple[TensorType, ...]:
        """See `Op.infer`."""
        x = operands.input(0)
        legal = sorted(self.perm) == list(range(len(x.shape)))
        require(legal, self, f"{list(self.perm)} is no order of {len(x.shape)} axes")
        return (TensorType(tuple(x.shape[axis] for axis in self.perm), x.dtype),)

    def reference(self, operands: Operands, values: Sequence[Array | None]) -> tuple[Array, ...]:
        """See `Op.reference`."""
        del operands
        return (np.array(np.transpose(np.asarray(values[0]), self.perm), order="C"),)

    def windows(self, operands: Operands) -> tuple[Window, ...]:
        """See `Op.windows`."""
        sizes = enumerate(operands.input(0).shape)
        kept = tuple(IDENTITY if self.perm[axis] == axis else Whole(size) for axis, size in sizes)
        return (Window(kept),)

    def lower(self, operands: Operands) -> Lowered:
        """See `Op.lower`."""
        source = View.of(operands.input(0)).permuted(self.perm)
        return copies(operands, [copy("x0", source, "y0", View.of(operands.output))])
