"""Overlap: by how much an output may run over the input it is made from.

A kernel that works in order makes the output slice by slice (rows of an image) and, for a slice,
reads no input slice below that slice's window. So the output may be written over input slices
that no later window needs: with the input ``d`` bytes above the output,

    d = max over y of (y + 1) * output_slice - low(y) * input_slice,

where ``low(y)`` is the first input slice that output slice ``y`` or a later one needs. For an
elementwise operator a slice is one element, which is read before it is written, and ``d`` is 0
where elements do not grow. So is a block of pixels of a kernel that reads all of it at first: the
next block is the first that what is written must spare.

Source: row-granular form of the safe overlap of Pisarchyk and Lee (arXiv 2010.01668, "diagonal
memory optimisation") and of the segment pool of vMCU (arXiv 2406.06542).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from toolchain.ir.graph import Operands
from toolchain.ir.tensor import DType, Tensor
from toolchain.ops.window import Window

BYTES = (DType.INT8, DType.UINT8, DType.BOOL)


def distances(
    windows: tuple[Window, ...], operands: Operands, blocks: Sequence[tuple[int, int]] = ()
) -> dict[str, int]:
    """Return for each input how many bytes above the output's start it may start.

    Args:
        windows: one per activation input, of a node whose kernel works in order.
        operands: the node's tensors.
        blocks: of pixels, as `toolchain.kernels.base.Specialised` has them.

    Returns:
        Distance by input name; inputs that the output must not touch are left out.
    """
    found: dict[str, int] = {}
    if len(operands.outputs) != 1:
        return found
    y = operands.output
    for x, window in zip(operands.activations, windows, strict=True):
        distance = _block_distance(blocks, x, y) if blocks else _distance(window, x, y)
        found[x.name] = max(found.get(x.name, 0), distance)
    return {name: distance for name, distance in found.items() if distance < y.nbytes}


def _distance(window: Window, x: Tensor, y: Tensor) -> int:
    if not may_alias(x, y):
        return y.nbytes
    if window.elementwise:
        return max(0, y.nbytes - x.nbytes, y.dtype.itemsize - x.dtype.itemsize)
    axis = slice_axis(y.shape)
    if axis >= len(window.axes) or any(size != 1 for size in x.shape[:axis]):
        return y.nbytes
    count = y.shape[axis]
    out_slice, in_slice = y.nbytes // count, x.nbytes // x.shape[axis]
    distance, low = 0, x.shape[axis]
    for row in reversed(range(count)):
        low = max(0, min(low, window.axes[axis].needs(row, row + 1)[0]))
        distance = max(distance, (row + 1) * out_slice - low * in_slice)
    return distance


def _block_distance(blocks: Sequence[tuple[int, int]], x: Tensor, y: Tensor) -> int:
    before = sum(pixels * count for pixels, count in blocks) - blocks[-1][0]
    return max(0, before * (y.shape[-1] - x.shape[-1]))


def as_close(new: Mapping[str, int], old: Mapping[str, int]) -> bool:
    """Tell whether ``new`` allows every overlap that ``old`` does."""
    return all(name in new and new[name] <= distance for name, distance in old.items())


def may_alias(x: Tensor, y: Tensor) -> bool:
    """Tell whether C allows pointers to ``x`` and ``y`` into the same bytes (C99 6.5 p7)."""
    return x.dtype == y.dtype or x.dtype in BYTES or y.dtype in BYTES


def slice_axis(shape: tuple[int, ...]) -> int:
    """Return the axis along which a kernel that works in order makes its output."""
    return next((axis for axis, size in enumerate(shape) if size != 1), 0)
