"""ONNX operators that move elements, and resizing."""

from __future__ import annotations

from functools import reduce

import numpy as np

from toolchain.importers.onnx_builder import OnnxNode, UnsupportedError, elements
from toolchain.importers.spelled import (
    Chain,
    broadcast_to,
    extended,
    gathered,
    mirrored,
    tiled,
)
from toolchain.ops import (
    Add,
    Concat,
    Pad,
    Reshape,
    ResizeBilinear,
    ResizeNearest,
    Split,
    StridedSlice,
    Sub,
    Transpose,
)
from toolchain.ops.resize import Resize

_MOST_ELEMENTS = 2**27  # of what repeats elements
_MOST_BORDER = 1e4  # beyond it the elements themselves would have no levels left


def reshaped(node: OnnxNode, shape: tuple[int, ...]) -> list[str]:
    """Return the first input with another shape."""
    if elements(shape) != elements(node.shape()):
        raise node.error(f"{list(node.shape())} has not the size of {list(shape)}")
    return [node.build.add(Reshape(shape), [node.tensor(0)])]


def depth_to_space(node: OnnxNode) -> list[str]:
    """DepthToSpace: channels become blocks of pixels."""
    size, (batch, depth, height, width) = _block(node)
    channels = depth // size**2
    if depth % size**2:
        raise node.error(f"{depth} channels are no blocks of {size} x {size}")
    in_rows = node.attributes.get("mode", "DCR") == "DCR"
    parts = (size, size, channels) if in_rows else (channels, size, size)
    order = (0, 3, 4, 1, 5, 2) if in_rows else (0, 1, 4, 2, 5, 3)
    split = node.build.add(Reshape((batch, *parts, height, width)), [node.tensor(0)])
    turned = node.build.add(Transpose(order), [split])
    return [node.build.add(Reshape((batch, channels, height * size, width * size)), [turned])]


def space_to_depth(node: OnnxNode) -> list[str]:
    """SpaceToDepth: blocks of pixels become channels."""
    size, (batch, channels, height, width) = _block(node)
    if height % size or width % size:
        raise node.error(f"{height} x {width} pixels are no blocks of {size} x {size}")
    parts = (batch, channels, height // size, size, width // size, size)
    split = node.build.add(Reshape(parts), [node.tensor(0)])
    turned = node.build.add(Transpose((0, 3, 5, 1, 2, 4)), [split])
    shape = (batch, channels * size**2, height // size, width // size)
    return [node.build.add(Reshape(shape), [turned])]


def _block(node: OnnxNode) -> tuple[int, tuple[int, int, int, int]]:
    """Return the size of blocks, and the shape of the map."""
    size, shape = int(node.attributes["blocksize"]), node.shape()
    if len(shape) != 4 or size < 1:
        raise node.error(f"blocks of {size} in {list(shape)}")
    return size, (shape[0], shape[1], shape[2], shape[3])


def reshape(node: OnnxNode) -> list[str]:
    """Reshape with a shape that is known: 0 keeps a dimension, -1 is what is left."""
    wanted, old = node.integers("shape", 1) or [], node.shape()
    kept = not node.attributes.get("allowzero")
    sizes = [old[i] if n == 0 and kept and i < len(old) else n for i, n in enumerate(wanted)]
    if sizes.count(-1) > 1:
        raise UnsupportedError("with two unknown dimensions")
    known = elements([n for n in sizes if n != -1])
    if known <= 0 or elements(old) % known:
        raise node.error(f"{list(old)} has not the size of {wanted}")
    return reshaped(node, tuple(elements(old) // known if n == -1 else n for n in sizes))


def flatten(node: OnnxNode) -> list[str]:
    """Flatten to two axes."""
    shape = node.shape()
    axis = int(node.attributes.get("axis", 1))
    axis = axis + len(shape) if axis < 0 else axis
    return reshaped(node, (elements(shape[:axis]), elements(shape[axis:])))


def squeeze(node: OnnxNode) -> list[str]:
    """Squeeze: axes of size 1 go."""
    shape, given = node.shape(), node.integers("axes", 1)
    axes = {node.axis(a) for a in given or [i for i, n in enumerate(shape) if n == 1]}
    return reshaped(node, tuple(n for i, n in enumerate(shape) if i not in axes))


def unsqueeze(node: OnnxNode) -> list[str]:
    """Unsqueeze: axes of size 1 are put in."""
    given, sizes = node.integers("axes", 1) or [], iter(node.shape())
    rank = len(node.shape()) + len(given)
    axes = {node.axis(a, rank) for a in given}
    if len(axes) != len(given):
        raise UnsupportedError("an axis twice")
    return reshaped(node, tuple(1 if i in axes else next(sizes) for i in range(rank)))


def transpose(node: OnnxNode) -> list[str]:
    """Transpose; the order is reversed by default."""
    rank = len(node.shape())
    perm = node.integers("perm") or list(reversed(range(rank)))
    return [node.build.add(Transpose(tuple(perm)), [node.tensor(0)])]


def concat(node: OnnxNode) -> list[str]:
    """Concat of tensors and constants."""
    inputs = [node.tensor(i) for i in range(len(node.inputs))]
    return [node.build.add(Concat(node.axis(int(node.attributes["axis"]))), inputs)]


def split(node: OnnxNode) -> list[str]:
    """Split into given or equal parts."""
    axis = node.axis(int(node.attributes.get("axis", 0)))
    total, count = node.shape()[axis], len(node.outputs)
    part = -(-total // count)
    sizes = node.integers("split", 1) or [min(part, total - i * part) for i in range(count)]
    return node.build.add_many(Split(axis, tuple(sizes)), [node.tensor(0)], list(node.outputs))


def slice_(node: OnnxNode) -> list[str]:
    """Slice with known bounds, as a list of ranges."""
    shape = node.shape()
    starts, ends = node.integers("starts", 1) or [], node.integers("ends", 2) or []
    axes = node.integers("axes", 3) or list(range(len(starts)))
    steps = node.integers("steps", 4) or [1] * len(starts)
    begin, end, stride = [0] * len(shape), list(shape), [1] * len(shape)
    for start, stop, along, step in zip(starts, ends, axes, steps, strict=True):
        axis = node.axis(along)
        if step == 0:
            raise UnsupportedError("with a step of 0")
        begin[axis], end[axis], stride[axis] = slice(start, stop, step).indices(shape[axis])
    op = StridedSlice(tuple(begin), tuple(end), tuple(stride))
    return [node.build.add(op, [node.tensor(0)])]


def gather(node: OnnxNode) -> list[str]:
    """Gather of constant indices."""
    shape, indices = node.shape(), node.needed(1)
    axis = node.axis(int(node.attributes.get("axis", 0)))
    places = [int(i) + (shape[axis] if i < 0 else 0) for i in indices.reshape(-1)]
    if not places or elements(shape) // shape[axis] * len(places) > _MOST_ELEMENTS:
        raise UnsupportedError(f"of {len(places)} indices")
    return [_chained(node, gathered(shape, axis, places, indices.shape))]


def tile(node: OnnxNode) -> list[str]:
    """Tile."""
    counts = node.integers("repeats", 1) or []
    if min(counts, default=1) < 1 or elements((*node.shape(), *counts)) > _MOST_ELEMENTS:
        raise UnsupportedError(f"{counts} times")
    return [_chained(node, tiled(node.shape(), counts))]


def expand(node: OnnxNode) -> list[str]:
    """Expand: copies along axes of size 1; a shape alone costs nothing."""
    given = [int(n) for n in node.needed(1).reshape(-1)]
    if elements(given) > _MOST_ELEMENTS:
        raise UnsupportedError(f"to {given}")
    shape = tuple(int(n) for n in np.broadcast_shapes(node.shape(), tuple(given)))
    return [_chained(node, broadcast_to(node.shape(), shape))]


def _chained(node: OnnxNode, chain: Chain) -> str:
    """Return what operators, one after another, make of the first input."""
    ops = chain or (Reshape(node.shape()),)
    return reduce(lambda x, op: node.build.add(op, [x]), ops, node.tensor(0))


def pad(node: OnnxNode) -> list[str]:
    """Pad with a constant, or with what lies inside: mirrored, the outermost, or the other end."""
    rank, pads = len(node.shape()), node.integers("pads", 1) or []
    value = node.attributes.get("value", 0.0)
    if len(node.inputs) > 2 and node.known(2) is not None:
        value = float(node.needed(2).reshape(-1)[0])
    axes = [node.axis(a) for a in node.integers("axes", 3) or range(rank)]
    before, after = [0] * rank, [0] * rank
    for place, axis in enumerate(axes):
        before[axis], after[axis] = pads[place], pads[place + len(axes)]
    if min((*before, *after)) < 0:
        raise UnsupportedError("negative padding")
    sides, mode = (tuple(before), tuple(after)), str(node.attributes.get("mode", "constant"))
    if mode == "constant":
        return [_bordered(node, *sides, value)]
    if mode == "edge":
        return [_chained(node, extended(node.shape(), *sides))]
    if mode != "reflect":
        raise UnsupportedError(f"mode {mode}")
    last = [size - 1 for size in node.shape()]
    if any(max(low, high) > n for low, high, n in zip(*sides, last, strict=True)):
        raise UnsupportedError(f"reflection of {pads} of {list(node.shape())}")
    return [_chained(node, mirrored(node.shape(), *sides, edge=False))]


def _bordered(node: OnnxNode, before: tuple[int, ...], after: tuple[int, ...], value: float) -> str:
    """Return x with a border of ``value``: zeros, where x is moved so that it is zero."""
    if not np.isfinite(value) or abs(value) > _MOST_BORDER:
        raise UnsupportedError(f"with {value}")
    build, x = node.build, node.tensor(0)
    moved = build.constant(np.full((1,) * len(node.shape()), value))
    x = build.add(Sub(), [x, moved]) if value else x
    padded = build.add(Pad(before, after), [x])
    return build.add(Add(), [padded, moved]) if value else padded


def resize(node: OnnxNode) -> list[str]:
    """Resize and Upsample of the two spatial axes, nearest or linear."""
    shape, build = node.shape(), node.build
    if len(shape) != 4:
        raise UnsupportedError(f"of rank {len(shape)}")
    size = _target(node)
    if size[:2] != shape[:2]:
        raise UnsupportedError("of batch or channels")
    mode = node.attributes.get("mode", "nearest")
    if mode not in ("nearest", "linear"):
        raise UnsupportedError(f"mode {mode}")
    op = _nearest(node, shape[2:], size[2:]) if mode == "nearest" else _linear(node, size[2:])
    return [build.channels_first(build.add(op, [build.channels_last(node.tensor(0))]))]


def _target(node: OnnxNode) -> tuple[int, ...]:
    shape = node.shape()
    sizes = node.known(3) if node.kind == "Resize" and len(node.inputs) > 3 else None
    if sizes is not None and sizes.size == len(shape):
        return tuple(int(n) for n in sizes.reshape(-1))
    place = 2 if node.kind == "Resize" and node.opset >= 11 else 1
    scales = node.attributes.get("scales")
    factors = np.asarray(scales if scales is not None else node.needed(place)).reshape(-1)
    if factors.size != len(shape):
        raise UnsupportedError("scales of some axes only")
    return tuple(int(np.floor(n * float(f))) for n, f in zip(shape, factors, strict=True))


def _coordinates(node: OnnxNode) -> str:
    default = "asymmetric" if node.kind == "Upsample" or node.opset < 11 else "half_pixel"
    return str(node.attributes.get("coordinate_transformation_mode", default))


def _linear(node: OnnxNode, size: tuple[int, ...]) -> Resize:
    mode = _coordinates(node)
    if mode == "pytorch_half_pixel" and min(size) > 1:
        mode = "half_pixel"
    if mode not in ("asymmetric", "half_pixel", "align_corners"):
        raise UnsupportedError(f"coordinates {mode}")
    return ResizeBilinear((size[0], size[1]), mode == "align_corners", mode == "half_pixel")


def _nearest(node: OnnxNode, old: tuple[int, ...], size: tuple[int, ...]) -> Resize:
    """Return the resize whose table of nearest inputs is the file's."""
    wanted = [_nearest_inputs(node, n, m) for n, m in zip(old, size, strict=True)]
    for flags in ((False, False), (True, False), (False, True)):
        op = ResizeNearest((size[0], size[1]), *flags)
        if [op.resample(n, m).lower for n, m in zip(old, size, strict=True)] == wanted:
            return op
    raise UnsupportedError("these nearest coordinates have no counterpart")


def _nearest_inputs(node: OnnxNode, old: int, new: int) -> tuple[int, ...]:
    scale, place = old / new, np.arange(new)
    match _coordinates(node):
        case "asymmetric":
            exact = place * scale
        case "align_corners":
            exact = place * ((old - 1) / max(new - 1, 1))
        case "half_pixel" | "pytorch_half_pixel":
            exact = (place + 0.5) * scale - 0.5
        case mode:
            raise UnsupportedError(f"coordinates {mode}")
    default = "floor" if node.kind == "Upsample" or node.opset < 11 else "round_prefer_floor"
    match node.attributes.get("nearest_mode", default):
        case "floor":
            nearest = np.floor(exact)
        case "ceil":
            nearest = np.ceil(exact)
        case "round_prefer_ceil":
            nearest = np.floor(exact + 0.5)
        case _:
            nearest = np.ceil(exact - 0.5)
    return tuple(np.clip(nearest, 0, old - 1).astype(int).tolist())
