"""How many instructions 16x8 kernels of the DSP extension take; see `toolchain.kernels.cost`."""

from __future__ import annotations

from toolchain.kernels.conv_dsp import Geometry
from toolchain.ops.base import RowTaps

_PAIR = {1: 62.0, 2: 63.0, 3: 74.0}  # a block of pixels with a pair of filters, beside the products
_STEP = {1: 6.4, 2: 9.5, 3: 12.2}  # 2 inputs of a block with a pair of filters


def windows(geometry: Geometry, taps: RowTaps, pairs: int, depth: int, *, in_place: bool) -> int:
    """Estimate a convolution of ``pairs`` of filters of ``depth`` inputs, row by row.

    Args:
        geometry: of the windows.
        taps: calls.
        pairs: pairs of filters.
        depth: inputs of a filter, an even number.
        in_place: whether windows are read where they lie, not gathered.
    """
    out_w = geometry.out_w
    blocks = ((3, out_w // 3), (out_w % 3, out_w % 3 > 0))
    products = sum(
        count * (6.0 + pairs * (_PAIR[pixels] + _STEP[pixels] * depth / 2))
        for pixels, count in blocks
        if count
    )
    row = geometry.length * 2
    gathered = geometry.segments * (20.0 + 1.25 * row + 38.0 * (row % 4 > 0))
    return round(taps.batch * taps.out_rows * (products + (0 if in_place else out_w * gathered)))


def vectors(rows: int, depth: int, units: int) -> int:
    """Estimate a fully connected layer."""
    steps = (depth + 1) // 2
    fours, pairs = units // 4, (units % 4 + 1) // 2
    copied = 5.0 * steps * (depth % 2)
    products = fours * (54.0 + 10.4 * steps) + pairs * (19.0 + 6.7 * steps)
    return round(rows * (77.0 + copied + products))


def depthwise(geometry: Geometry, taps: RowTaps, rows: int, reached: int) -> int:
    """Estimate a depthwise convolution.

    Args:
        geometry: of the windows.
        taps: calls.
        rows: rows of all windows of a column that lie in the map.
        reached: taps of all columns of a row that lie in the map.
    """
    first, last = geometry.inside
    fours, calls = geometry.in_c / 4, taps.batch * taps.out_rows
    inner = (last - first) * geometry.kernel[1]
    outer = geometry.out_w - (last - first)
    products = rows * taps.batch * (10.2 * inner + 11.8 * (reached - inner))
    at_edges = 13.0 * calls * geometry.kernel[0] * outer
    pixels = calls * geometry.out_w
    return round(26.0 * pixels + fours * (86.0 * pixels + products + at_edges))
