"""What operators become when their inputs' axes are permuted: ``op(T(x)) == T'(op'(x))``."""

from __future__ import annotations

from dataclasses import dataclass, replace

from toolchain.ir import Operands
from toolchain.ops import (
    ArgMax,
    Concat,
    Dequantize,
    Gather,
    LogSoftmax,
    Op,
    Pad,
    Quantize,
    Softmax,
    Split,
    StridedSlice,
)
from toolchain.ops.binary import Binary
from toolchain.ops.reduction import Reduction
from toolchain.ops.unary import Unary

Perm = tuple[int, ...]


def inverse(perm: Perm) -> Perm:
    """Return the permutation that undoes ``perm``."""
    return tuple(sorted(range(len(perm)), key=perm.__getitem__))


@dataclass(frozen=True)
class Change:
    """The operator on the inputs before their permutation, and what permutes its outputs."""

    op: Op
    perm: Perm


def permuted_shape(shape: tuple[int, ...], perm: Perm) -> tuple[int, ...]:
    """Return the shape after a transpose."""
    return tuple(shape[axis] for axis in perm)


def permuted_op(op: Op, operands: Operands, perm: Perm) -> Change | None:
    """Return the change of ``op`` when ``perm`` moves behind it, ``None`` if it cannot.

    Args:
        op: an operator whose inputs are transposed by ``perm``.
        operands: its tensors as they are now; other inputs must be constants, which take the order
            of axes before the transpose too, or transposed alike.
        perm: axis ``i`` of the inputs is axis ``perm[i]`` of what is before the transpose.
    """
    change: Change | None = None
    match op:
        case Unary() | Quantize() | Dequantize():
            change = Change(op, perm)
        case Softmax() | LogSoftmax() if perm[-1] == len(perm) - 1:
            change = Change(op, perm)
        case Binary() if len(operands.output.shape) == len(perm):
            change = Change(op, perm)
        case Pad():
            before, after = (_moved(values, perm) for values in (op.before, op.after))
            change = Change(replace(op, before=before, after=after), perm)
        case Concat() | Gather() | Split():
            change = Change(replace(op, axis=perm[op.axis]), perm)
        case Reduction():
            axes = tuple(sorted(perm[axis] for axis in op.axes))
            left = perm if op.keep_dims else _without(perm, op.axes)
            change = Change(replace(op, axes=axes), left)
        case ArgMax():
            axis = op.axis % len(perm)
            change = Change(replace(op, axis=perm[axis]), _without(perm, (axis,)))
        case StridedSlice():
            begin, end, strides = (_moved(v, perm) for v in (op.begin, op.end, op.strides))
            shrink = tuple(sorted(perm[axis] for axis in op.shrink))
            change = Change(StridedSlice(begin, end, strides, shrink), _without(perm, op.shrink))
    return change


def _moved(values: tuple[int, ...], perm: Perm) -> tuple[int, ...]:
    """Return one value per axis, in the order of the axes before the transpose."""
    moved = dict(zip(perm, values, strict=True))
    return tuple(moved[axis] for axis in range(len(perm)))


def _without(perm: Perm, dropped: tuple[int, ...]) -> Perm:
    """Return the permutation that is left when the output's axes ``dropped`` are gone."""
    left = [source for axis, source in enumerate(perm) if axis not in dropped]
    return tuple(sorted(left).index(source) for source in left)


def reshaped_before(
    shape: tuple[int, ...], perm: Perm, target: tuple[int, ...]
) -> tuple[tuple[int, ...], Perm] | None:
    """Return shape and order of axes for which ``reshape(T(x)) == T'(reshape'(x))``.

    A reshape splits and joins runs of neighbouring axes. It can be done before a permutation that
    keeps each run together and in its order. Axes of size 1 stand in nobody's way.

    Args:
        shape: of x.
        perm: axis ``i`` of T(x) is axis ``perm[i]`` of x.
        target: the shape after the reshape.

    Returns:
        The shape of reshape'(x) and the permutation of T', ``None`` if there is none.
    """
    runs = _runs([(axis, shape[axis]) for axis in perm if shape[axis] > 1], list(target))
    if any(old != list(range(old[0], old[0] + len(old))) for old, _ in _close(runs, shape)):
        return None
    order = sorted(range(len(runs)), key=lambda i: runs[i][0][0] if runs[i][0] else -1)
    places = [place for i in order for place in runs[i][1]]
    return tuple(target[place] for place in places), tuple(
        places.index(place) for place in range(len(target))
    )


def _runs(old: list[tuple[int, int]], new: list[int]) -> list[tuple[list[int], list[int]]]:
    """Return the least runs of old axes and of places in ``new`` that hold as many elements."""
    runs: list[tuple[list[int], list[int]]] = []
    left = list(old)
    axes, places, size, wanted = [], [], 1, 1
    for place, length in enumerate(new):
        places.append(place)
        wanted *= length
        while left and (size < wanted or wanted % size):
            axis, count = left.pop(0)
            axes.append(axis)
            size *= count
        if size == wanted:
            runs.append((axes, places))
            axes, places, size, wanted = [], [], 1, 1
    return runs


def _close(
    runs: list[tuple[list[int], list[int]]], shape: tuple[int, ...]
) -> list[tuple[list[int], list[int]]]:
    """Return runs of more than one axis, counted without the axes of size 1."""
    long_axes = [axis for axis, size in enumerate(shape) if size > 1]
    return [([long_axes.index(axis) for axis in old], new) for old, new in runs if len(old) > 1]
