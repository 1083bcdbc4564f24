"""What operators become when their inputs' axes are permuted: ``op(T(x)) == T'(op'(x))``."""

from __future__ import annotations

from dataclasses import dataclass, replace

from toolchain.ir import Operands
from toolchain.ops import (
    ArgMax,
    Concat,
    Dequantize,
    Mean,
    Op,
    Pad,
    Quantize,
    Split,
    StridedSlice,
)
from toolchain.ops.binary import Binary
from toolchain.ops.unary import Unary

Perm = tuple[int, ...]


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
        operands: its tensors as they are now; other inputs must be constants or transposed alike.
        perm: axis ``i`` of the inputs is axis ``perm[i]`` of what is before the transpose.
    """
    change: Change | None = None
    match op:
        case Unary() | Quantize() | Dequantize():
            change = Change(op, perm)
        case Binary() if len(operands.output.shape) == len(perm):
            change = Change(op, perm)
        case Pad():
            before, after = (_moved(values, perm) for values in (op.before, op.after))
            change = Change(replace(op, before=before, after=after), perm)
        case Concat() | Split():
            change = Change(replace(op, axis=perm[op.axis]), perm)
        case Mean():
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
