"""What operators share that reduce axes to one element: mean, greatest and least."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array
from toolchain.ops.base import Lowered, Number, Op, TensorType, require, require_integers
from toolchain.ops.loops import Loop, merged, row_major
from toolchain.ops.window import IDENTITY, Whole, Window, whole


@dataclass(frozen=True)
class Reduction(Op):
    """x with ``axes`` (not negative, increasing) reduced to one element each.

    Attributes:
        axes: which axes.
        keep_dims: whether they stay, with size 1.
    """

    axes: tuple[int, ...]
    keep_dims: bool = False

    def infer(self, operands: Operands) -> tuple[TensorType, ...]:
        """See `Op.infer`."""
        x = operands.input(0)
        require_integers(self, x)
        legal = list(self.axes) == sorted(set(self.axes) & set(range(len(x.shape))))
        require(legal, self, f"axes {list(self.axes)} of a tensor of rank {len(x.shape)}")
        kept = [1 if axis in self.axes else size for axis, size in enumerate(x.shape)]
        if not self.keep_dims:
            kept = [size for axis, size in enumerate(x.shape) if axis not in self.axes]
        return (TensorType(tuple(kept), x.dtype),)

    def windows(self, operands: Operands) -> tuple[Window, ...]:
        """See `Op.windows`."""
        shape = operands.input(0).shape
        if not self.keep_dims:
            return (whole(shape),)
        axes = enumerate(shape)
        return (Window(tuple(Whole(n) if axis in self.axes else IDENTITY for axis, n in axes)),)

    def loops(self, operands: Operands) -> dict[str, Number]:
        """Return the loops over the axes that stay, and over those that are reduced."""
        shape = operands.input(0).shape
        steps = list(enumerate(zip(shape, row_major(shape), strict=True)))
        return {
            "kept": merged(Loop(*ns, 0) for axis, ns in steps if axis not in self.axes),
            "reduced": merged(Loop(*ns, 0) for axis, ns in steps if axis in self.axes),
        }


@dataclass(frozen=True)
class ReduceExtremum(Reduction):
    """The least or greatest element over axes; input and output have one quantisation."""

    comparison: ClassVar[str]

    def infer(self, operands: Operands) -> tuple[TensorType, ...]:
        """See `Op.infer`."""
        quants = (operands.input(0).quant, operands.output.quant)
        same = None in quants or quants[0] == quants[1]
        require(same, self, "input and output need one quantisation")
        require(bool(self.axes), self, "no axes")
        return super().infer(operands)

    @abstractmethod
    def extreme(self, x: Array) -> Array:
        """Return the extreme elements over the axes."""

    def reference(self, operands: Operands, values: Sequence[Array | None]) -> tuple[Array, ...]:
        """See `Op.reference`."""
        return (self.extreme(np.asarray(values[0])).reshape(operands.output.shape),)

    def lower(self, operands: Operands) -> Lowered:
        """See `Op.lower`."""
        return Lowered("reduce_extremum", {**self.loops(operands), "comparison": self.comparison})
