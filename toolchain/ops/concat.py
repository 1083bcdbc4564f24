"""CONCATENATION: tensors joined along one axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import ClassVar

import numpy as np

from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array, DType, Tensor
from toolchain.numerics import Activation
from toolchain.ops.base import Lowered, Op, TensorType, require
from toolchain.ops.movement import View, copies, copy, sources
from toolchain.ops.window import IDENTITY, Slide, Window


@dataclass(frozen=True)
class Concat(Op):
    """The inputs one after the other along ``axis`` (not negative).

    Inputs may be constants. As in TFLite Micro, int8 tensors must have one scale and zero point,
    and no activation can be fused.
    """

    name: ClassVar[str] = "concat"
    axis: int
    activation: Activation = Activation.NONE

    def infer(self, operands: Operands) -> tuple[TensorType, ...]:
        """See `Op.infer`."""
        first, axis = operands.input(0), self.axis
        require(self.activation is Activation.NONE, self, "fused activations are not supported")
        require(0 <= axis < len(first.shape), self, f"axis {axis} of rank {len(first.shape)}")
        total = 0
        for index in range(len(operands.inputs)):
            x = operands.input(index)
            same = (*first.shape[:axis], *x.shape[axis : axis + 1], *first.shape[axis + 1 :])
            require(x.shape == same, self, f"{list(x.shape)} does not join {list(first.shape)}")
            require(x.dtype == first.dtype, self, "the inputs need one element type")
            require(_agree(x, operands.output), self, f'"{x.name}" has another quantisation')
            total += x.shape[axis]
        shape = (*first.shape[:axis], total, *first.shape[axis + 1 :])
        return (TensorType(shape, first.dtype),)

    def reference(self, operands: Operands, values: Sequence[Array | None]) -> tuple[Array, ...]:
        """See `Op.reference`."""
        del operands
        return (np.concatenate([np.asarray(value) for value in values], axis=self.axis),)

    def windows(self, operands: Operands) -> tuple[Window, ...]:
        """See `Op.windows`."""
        windows = []
        for x, start in self._places(operands):
            axes = (
                Slide(pad=start) if axis == self.axis else IDENTITY for axis in range(len(x.shape))
            )
            windows.append((x, Window(tuple(axes))))
        return tuple(window for x, window in windows if not x.is_constant)

    def lower(self, operands: Operands) -> Lowered:
        """See `Op.lower`."""
        y = View.of(operands.output)
        moves = [
            copy(name, View.of(x), "y0", y.cut(self.axis, start, x.shape[self.axis]))
            for name, (x, start) in zip(sources(operands), self._places(operands), strict=True)
        ]
        outermost = all(size == 1 for size in operands.output.shape[: self.axis])
        return copies(operands, moves, parts=True, in_order=outermost)

    def _places(self, operands: Operands) -> list[tuple[Tensor, int]]:
        """Return the inputs with their starts along the axis."""
        tensors = [operands.input(index) for index in range(len(operands.inputs))]
        starts = accumulate((x.shape[self.axis] for x in tensors), initial=0)
        return list(zip(tensors, starts, strict=False))


def _agree(x: Tensor, y: Tensor) -> bool:
    """Tell whether int8 elements of ``x`` mean the same in ``y``."""
    if x.dtype != DType.INT8 or x.quant is None or y.quant is None:
        return True
    return (x.scale, x.zero_point) == (y.scale, y.zero_point)
