"""Operators of a ``.tflite`` file that move elements, and are read as a chain of ours."""

from __future__ import annotations

from math import prod

from toolchain.importers import spelled
from toolchain.importers.spelled import Chain
from toolchain.importers.tflite_layer import Layer
from toolchain.ops import StridedSlice

_MOST_ELEMENTS = 2**24  # of what elements are repeated or mirrored in
_MOST_INDICES = 2**16


def _blocks(layer: Layer) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Return sizes of blocks, and pairs of paddings or crops as two tuples."""
    block, pairs = layer.numbers(1), layer.numbers(2)
    rank = len(layer.input(0).shape)
    legal = 0 < len(block) < rank and len(pairs) == 2 * len(block) and min(block) > 0
    layer.require(legal and min(pairs) >= 0, f"blocks of {list(block)} with {list(pairs)}")
    return block, pairs[::2], pairs[1::2]


def _require_few(layer: Layer, sizes: tuple[int, ...]) -> None:
    layer.require(prod(sizes) <= _MOST_ELEMENTS, "too many elements")


def space_to_batch(layer: Layer) -> Chain:
    """SPACE_TO_BATCH_ND."""
    shape, (block, before, after) = layer.input(0).shape, _blocks(layer)
    sizes = zip(shape[1:], block, before, after, strict=False)
    fits = all((n + low + high) % b == 0 for n, b, low, high in sizes)
    layer.require(fits, f"{list(shape)} is no whole number of blocks of {list(block)}")
    return spelled.space_to_batch(shape, block, before, after)


def batch_to_space(layer: Layer) -> Chain:
    """BATCH_TO_SPACE_ND."""
    shape, (block, before, after) = layer.input(0).shape, _blocks(layer)
    layer.require(shape[0] % prod(block) == 0, f"batch {shape[0]} of blocks of {list(block)}")
    sizes = zip(shape[1:], block, before, after, strict=False)
    layer.require(all(n * b > low + high for n, b, low, high in sizes), "all would be cut off")
    return spelled.batch_to_space(shape, block, before, after)


def depth_to_space(layer: Layer) -> Chain:
    """DEPTH_TO_SPACE."""
    shape, size = layer.rank(0, 4), layer.options.BlockSize()
    layer.require(size > 0 and shape[3] % size**2 == 0, f"{shape[3]} channels, blocks of {size}")
    return spelled.depth_to_space(shape, size)


def space_to_depth(layer: Layer) -> Chain:
    """SPACE_TO_DEPTH."""
    shape, size = layer.rank(0, 4), layer.options.BlockSize()
    fits = size > 0 and shape[1] % size == 0 == shape[2] % size
    layer.require(fits, f"{list(shape)} in blocks of {size}")
    return spelled.space_to_depth(shape, size)


def mirror_pad(layer: Layer) -> Chain:
    """MIRROR_PAD, with the edge (SYMMETRIC) or without (REFLECT)."""
    shape, pads, edge = layer.input(0).shape, layer.numbers(1), layer.options.Mode() == 1
    layer.require(len(pads) == 2 * len(shape), f"{2 * len(shape)} paddings are needed")
    before, after = pads[::2], pads[1::2]
    sizes = zip(shape, before, after, strict=True)
    fits = all(min(low, high) >= 0 and max(low, high) <= n - (not edge) for n, low, high in sizes)
    layer.require(fits, f"{list(shape)} cannot mirror {list(pads)}")
    _require_few(layer, shape)
    return spelled.mirrored(shape, before, after, edge)


def tile(layer: Layer) -> Chain:
    """TILE."""
    shape, counts = layer.input(0).shape, layer.numbers(1)
    layer.require(len(counts) == len(shape) and min(counts, default=1) > 0, f"{list(counts)} times")
    _require_few(layer, (*shape, *counts))
    return spelled.tiled(shape, counts)


def broadcast_to(layer: Layer) -> Chain:
    """BROADCAST_TO."""
    shape, wanted = layer.input(0).shape, layer.outputs[0].shape
    ends = zip(shape[::-1], wanted[::-1], strict=False)
    fits = len(shape) <= len(wanted) and all(n in (1, m) for n, m in ends)
    layer.require(fits, f"{list(shape)} does not broadcast to {list(wanted)}")
    _require_few(layer, wanted)
    return spelled.broadcast_to(shape, wanted)


def reverse(layer: Layer) -> Chain:
    """REVERSE_V2."""
    shape = layer.input(0).shape
    axes = {layer.axis(axis, len(shape)) for axis in layer.numbers(1)}
    return spelled.backwards(shape, tuple(axes))


def slice_(layer: Layer) -> Chain:
    """SLICE: begins and sizes, of which -1 is all that is left."""
    shape, begin, size = layer.input(0).shape, layer.numbers(1), layer.numbers(2)
    layer.require(len(begin) == len(size) == len(shape), "a begin and a size per axis are needed")
    axes = list(zip(shape, begin, size, strict=True))
    legal = all(0 <= low < n and (m == -1 or 0 < m <= n - low) for n, low, m in axes)
    layer.require(legal, f"{list(begin)} and {list(size)} of {list(shape)}")
    end = tuple(n if m == -1 else low + m for n, low, m in axes)
    return (StridedSlice(begin, end, (1,) * len(shape)),)


def gather(layer: Layer) -> Chain:
    """GATHER of constant indices, whole slices along one axis."""
    shape, options = layer.input(0).shape, layer.options
    axis = layer.axis(options.Axis(), len(shape))
    layer.require(options.BatchDims() == 0, "batches of indices are not supported")
    places = layer.input(1)
    indices = layer.numbers(1, most=_MOST_INDICES)
    legal = bool(indices) and min(indices) >= 0 and max(indices) < shape[axis]
    layer.require(legal, f"an index is not below {shape[axis]}")
    return spelled.gathered(shape, axis, indices, places.shape)
