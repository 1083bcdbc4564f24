"""Operators of other tools that only move elements, in the words of ours: one after another.

Every function returns the operators of a chain: the first is applied to the operator's input, each
other one to what the one before it makes.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from toolchain.ops import Gather, Op, Pad, Reshape, StridedSlice, Transpose

Shape = tuple[int, ...]
Chain = tuple[Op, ...]


def space_to_batch(shape: Shape, block: Shape, before: Shape, after: Shape) -> Chain:
    """Return what pads the axes behind the batch and deals them out in blocks to batches.

    Args:
        shape: of x: batch, one axis per number of ``block``, others.
        block: sizes; every padded axis must be a multiple.
        before: padding in front of these axes.
        after: padding behind them.
    """
    rest = shape[1 + len(block) :]
    zeros = (0,) * len(rest)
    sizes = tuple(map(sum, zip(shape[1:], before, after, strict=False)))
    parts = [n for size, b in zip(sizes, block, strict=True) for n in (size // b, b)]
    places = range(len(block))
    order = (
        *(2 + 2 * i for i in places),
        0,
        *(1 + 2 * i for i in places),
        *(1 + 2 * len(block) + i for i in range(len(rest))),
    )
    pads = (Pad((0, *before, *zeros), (0, *after, *zeros)),) if any((*before, *after)) else ()
    made = (shape[0] * prod(block), *parts[::2], *rest)
    return (*pads, Reshape((shape[0], *parts, *rest)), Transpose(order), Reshape(made))


def batch_to_space(shape: Shape, block: Shape, before: Shape, after: Shape) -> Chain:
    """Return what puts blocks of batches back into the axes behind the batch, and crops these.

    Args:
        shape: of x: batch, a multiple of all blocks' elements; one axis per number of ``block``.
        block: sizes.
        before: elements cut off in front of these axes.
        after: elements cut off behind them.
    """
    count, batch = len(block), shape[0] // prod(block)
    spatial, rest = shape[1 : 1 + count], shape[1 + count :]
    order = [count]
    for place in range(count):
        order += [count + 1 + place, place]
    order += range(1 + 2 * count, 1 + 2 * count + len(rest))
    whole = tuple(n * b for n, b in zip(spatial, block, strict=True))
    moves: Chain = (
        Reshape((*block, batch, *spatial, *rest)),
        Transpose(tuple(order)),
        Reshape((batch, *whole, *rest)),
    )
    if not any((*before, *after)):
        return moves
    begin = (0, *before, *(0 for _ in rest))
    kept = tuple(n - cut for n, cut in zip(whole, after, strict=True))
    ones = (1,) * (1 + count + len(rest))
    return (*moves, StridedSlice(begin, (batch, *kept, *rest), ones))


def depth_to_space(shape: Shape, size: int) -> Chain:
    """Return what makes blocks of pixels of the channels of a map (N, H, W, C)."""
    batch, height, width, depth = shape
    channels = depth // size**2
    return (
        Reshape((batch, height, width, size, size, channels)),
        Transpose((0, 1, 3, 2, 4, 5)),
        Reshape((batch, height * size, width * size, channels)),
    )


def space_to_depth(shape: Shape, size: int) -> Chain:
    """Return what makes channels of blocks of pixels of a map (N, H, W, C)."""
    batch, height, width, channels = shape
    return (
        Reshape((batch, height // size, size, width // size, size, channels)),
        Transpose((0, 1, 3, 2, 4, 5)),
        Reshape((batch, height // size, width // size, channels * size**2)),
    )


def mirrored(shape: Shape, before: Shape, after: Shape, edge: bool) -> Chain:
    """Return what adds borders that mirror what lies inside, with the ``edge`` itself or not."""
    return _along(
        tuple(_reflection(*axis, edge) for axis in zip(shape, before, after, strict=True))
    )


def _reflection(size: int, before: int, after: int, edge: bool) -> Shape:
    first = 0 if edge else 1
    front = range(before - 1 + first, first - 1, -1)
    back = range(size - 1 - first, size - 1 - first - after, -1)
    return (*front, *range(size), *back)


def extended(shape: Shape, before: Shape, after: Shape) -> Chain:
    """Return what adds borders that repeat the outermost elements."""
    axes = zip(shape, before, after, strict=True)
    return _along(tuple((0,) * b + tuple(range(n)) + (n - 1,) * a for n, b, a in axes))


def tiled(shape: Shape, counts: Sequence[int]) -> Chain:
    """Return what repeats x ``counts`` times along every axis."""
    return _along(tuple(tuple(range(n)) * c for n, c in zip(shape, counts, strict=True)))


def rolled(shape: Shape, shifts: Shape) -> Chain:
    """Return what moves elements along every axis, those at the end to the front."""
    pairs = zip(shape, shifts, strict=True)
    return _along(tuple(tuple((i - shift) % n for i in range(n)) for n, shift in pairs))


def broadcast_to(shape: Shape, wanted: Shape) -> Chain:
    """Return what repeats x along axes of size 1, and along new ones in front."""
    full = (1,) * (len(wanted) - len(shape)) + shape
    view = () if full == shape else (Reshape(full),)
    axes = zip(full, wanted, strict=True)
    return (*view, *_along(tuple((0,) * m if n == 1 else tuple(range(n)) for n, m in axes)))


def backwards(shape: Shape, axes: Sequence[int]) -> Chain:
    """Return what turns the order along ``axes`` round."""
    pairs = list(enumerate(shape))
    return (
        StridedSlice(
            tuple(n - 1 if axis in axes else 0 for axis, n in pairs),
            tuple(-1 if axis in axes else n for axis, n in pairs),
            tuple(-1 if axis in axes else 1 for axis, _ in pairs),
        ),
    )


def gathered(shape: Shape, axis: int, indices: Sequence[int], places: Shape) -> Chain:
    """Return what takes slices along ``axis``, which becomes axes of the shape ``places``.

    A range of slices is cut out; a single one may drop its axis.
    """
    count, first = len(indices), indices[0]
    step = indices[1] - first if count > 1 else 1
    ranged = step != 0 and list(indices) == list(range(first, first + step * count, step))
    made = (*shape[:axis], *places, *shape[axis + 1 :])
    if not ranged:
        picked: Op = Gather(axis, tuple(indices))
    else:
        begin, end, strides = [0] * len(shape), list(shape), [1] * len(shape)
        begin[axis], end[axis], strides[axis] = first, first + step * count, step
        shrink = () if places else (axis,)
        picked = StridedSlice(tuple(begin), tuple(end), tuple(strides), shrink)
    return (picked,) if len(places) <= 1 else (picked, Reshape(made))


def _along(indices: Sequence[Shape]) -> Chain:
    """Return what takes slices along every axis; axes that stay are left out."""
    return tuple(
        Gather(axis, taken)
        for axis, taken in enumerate(indices)
        if taken != tuple(range(len(taken))) or not taken
    )
