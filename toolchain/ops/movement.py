"""What operators share that only move elements: every one is a few copies between views.

A view is a strided part of a tensor, so that padding, slicing, joining and permuting are all
written as views, and one C template copies the longest contiguous runs of any element type.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array, Tensor
from toolchain.ops.base import Lowered, Number
from toolchain.ops.loops import Loop, merged, row_major

Copy = tuple[Number, ...]


@dataclass(frozen=True)
class View:
    """Elements of a tensor, ``start + sum(index * step)``.

    Attributes:
        shape: elements along every axis.
        steps: distance between neighbours along every axis, may be negative.
        start: distance of the first element from the tensor's first.
    """

    shape: tuple[int, ...]
    steps: tuple[int, ...]
    start: int = 0

    @classmethod
    def of(cls, tensor: Tensor) -> View:
        """Return the view of a whole tensor."""
        return cls(tensor.shape, row_major(tensor.shape))

    def cut(self, axis: int, begin: int, count: int, step: int = 1) -> View:
        """Return ``count`` slices along ``axis`` from ``begin`` on, every ``step``-th."""
        shape = (*self.shape[:axis], count, *self.shape[axis + 1 :])
        steps = (*self.steps[:axis], self.steps[axis] * step, *self.steps[axis + 1 :])
        return View(shape, steps, self.start + begin * self.steps[axis])

    def dropped(self, axis: int) -> View:
        """Return the view without ``axis``, which has one slice."""
        shape, steps = list(self.shape), list(self.steps)
        del shape[axis], steps[axis]
        return replace(self, shape=tuple(shape), steps=tuple(steps))

    def permuted(self, perm: tuple[int, ...]) -> View:
        """Return the view with its axes in the order of ``perm``."""
        shape, steps = (tuple(values[axis] for axis in perm) for values in (self.shape, self.steps))
        return replace(self, shape=shape, steps=steps)


def copy(source: str, x: View, target: str, y: View) -> Copy:
    """Return the copy of view ``x`` of the C array ``source`` to ``y`` of ``target``.

    The views have one shape. The result, for the template, is (source, target, first source
    element, first target element, contiguous run, loops around the run).
    """
    loops = merged(Loop(*steps) for steps in zip(x.shape, x.steps, y.steps, strict=True))
    run = 1
    if loops and loops[-1][1:] == (1, 1):
        run, loops = loops[-1].rounds, loops[:-1]
    return source, target, x.start, y.start, run, loops


def copies(
    operands: Operands,
    moves: Sequence[Copy],
    fill: int | None = None,
    parts: bool = False,
    *,
    in_order: bool = False,
) -> Lowered:
    """Return ``moves`` for the template, after filling all of the output with ``fill``.

    Args:
        operands: the node's tensors.
        moves: made by `copy`; input ``i`` is called as `sources` says, output ``i`` is ``y<i>``.
        fill: value of the elements that no move reaches.
        parts: constant inputs are sources too and become tables.
        in_order: the moves go from the output's start to its end, each in one run, so that the
            output may run over inputs that lie behind what is written.
    """
    tables = _constants(operands) if parts else {}
    numbers: dict[str, Number] = {
        "copies": tuple(moves),
        "constants": tuple(tables),
        "itemsize": operands.outputs[0].dtype.itemsize,
        "function": "memmove" if in_order else "memcpy",
        "fill": () if fill is None else (operands.output.size, fill),
    }
    return Lowered("copy", numbers, tables, in_order=in_order)


def sources(operands: Operands) -> list[str]:
    """Return how C calls each input: activations ``x<n>``, constants by their place."""
    names: list[str] = []
    activations = 0
    for index, tensor in enumerate(operands.inputs):
        constant = tensor is not None and tensor.is_constant
        names.append(f"constant{index}" if constant else f"x{activations}")
        activations += not constant
    return names


def _constants(operands: Operands) -> Mapping[str, Array]:
    pairs = zip(sources(operands), operands.inputs, strict=True)
    return {
        name: np.asarray(tensor.values)
        for name, tensor in pairs
        if tensor is not None and tensor.is_constant
    }
