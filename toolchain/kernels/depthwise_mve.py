"""Depthwise convolution on the vector extension: 16 channels at a time, pixel by pixel.

Products of bytes are added in pairs of taps in 16 bits, then in 32. A product pair fits because no
weight is -128. Where a window leaves the map, its taps are found through pointers, and padding is
read from a table of zero points.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from toolchain.ir.tensor import Array
from toolchain.kernels import cost_mve
from toolchain.kernels.base import Isa, Specialised, integer
from toolchain.kernels.conv_dsp import Geometry
from toolchain.kernels.packing_mve import Constants, constants
from toolchain.numerics import Int64
from toolchain.ops.base import Lowered, Number

_LANES = 16
_NEAR = 111
# Narrowing joins lanes of vectors pairwise: lane l of vector v is channel 4 l + v.
_ORDER = np.arange(_LANES).reshape(4, 4).T.reshape(-1)


@dataclass(frozen=True)
class DepthwiseMve:
    """Depthwise convolution of any kernel, stride, dilation and padding; multiplier 1."""

    name: str = "depthwise_conv2d_mve"
    isa: Isa = Isa.MVE

    def supports(self, lowered: Lowered) -> bool:
        """See `Kernel.supports`."""
        return _supports(lowered)

    def specialise(self, lowered: Lowered) -> Specialised:
        """See `Kernel.specialise`."""
        taps = lowered.taps
        assert taps is not None
        numbers, tables = _packed_node(lowered)
        return Specialised(
            numbers,
            tables,
            in_order=taps.out_rows > 1,
            taps=taps,
            instructions=_instructions(lowered, numbers),
        )


@dataclass(frozen=True)
class DepthwiseInPlaceMve:
    """The same with stride 1 for a whole map, whose output may lie on its input.

    An input row is copied before an output row takes its place, and kept while windows need it.
    """

    name: str = "depthwise_in_place_mve"
    isa: Isa = Isa.MVE

    def supports(self, lowered: Lowered) -> bool:
        """See `Kernel.supports`."""
        taps = lowered.taps
        return (
            taps is not None
            and (taps.stride, taps.dilation, taps.batch) == (1, 1, 1)
            and taps.pad < taps.count
            and 1 < taps.out_rows <= taps.in_rows
            and taps.out_row_size <= taps.in_row_size
            and _supports(lowered)
        )

    def specialise(self, lowered: Lowered) -> Specialised:
        """See `Kernel.specialise`."""
        taps = lowered.taps
        assert taps is not None
        numbers, tables = _packed_node(lowered)
        rows = {"out_h": taps.out_rows, "pad_top": taps.pad}
        scratch = -(-(taps.pad + 1) * taps.in_row_size // 4) * 4
        taps = replace(taps, rows=taps.out_rows, count=taps.out_rows - 1 + taps.count)
        copies = cost_mve.copies(taps.out_rows, taps.in_row_size)
        return Specialised(
            {**numbers, **rows},
            tables,
            scratch,
            in_place=True,
            taps=taps,
            instructions=_instructions(lowered, numbers) + copies,
        )


def _instructions(lowered: Lowered, numbers: Mapping[str, Number]) -> int:
    assert lowered.taps is not None
    geometry = Geometry.of(lowered.numbers)
    signed = numbers["mode"] == "signed"
    return cost_mve.depthwise(geometry, geometry.in_c, lowered.taps, signed=signed)


def _supports(lowered: Lowered) -> bool:
    return (
        lowered.kernel == "depthwise_conv2d"
        and lowered.taps is not None
        and lowered.numbers["multiplier"] == 1
        and lowered.numbers["w_zero"] == 0
        and bool(np.all(lowered.tables["weights"] > -128))
        and _packed(lowered) is not None
    )


def _packed_node(lowered: Lowered) -> tuple[dict[str, Number], dict[str, Array]]:
    """Return the literals and tables of the kernel that makes a row."""
    packed = _packed(lowered)
    assert packed is not None
    n, geometry = lowered.numbers, Geometry.of(lowered.numbers)
    channels, (first, last) = geometry.in_c, geometry.inside
    middle = first * geometry.stride_w - geometry.pad_left
    middle += geometry.kernel[1] // 2 * geometry.dilation_w
    edges = geometry.pad_rows or last - first < geometry.out_w
    numbers: dict[str, Number] = {
        **{k: n[k] for k in ("kernel", "in_w", "in_c", "out_w", "pad_rows", "pad_left")},
        **{k: n[k] for k in ("stride_w", "dilation_w")},
        "some": channels if channels < _LANES else 0,
        # Neighbours of a tap this near are reached by literals.
        "near": channels if channels * geometry.dilation_w <= _NEAR else 0,
        "groups": _groups(channels),
        "first": first,
        "last": last,
        "inner": first < last,
        "inside": last - first,
        "at": middle * channels,
        "out": first * channels,
        "step": geometry.stride_w * channels,
        "edges": edges,
        **packed.numbers,
    }
    return numbers, _tables(packed, integer(n, "x_zero") if geometry.edges else None)


def _groups(channels: int) -> str:
    """Return how groups of channels lie: the last of many may repeat some of those before it."""
    if channels <= _LANES:
        return "one"
    return "overlapping" if channels % _LANES else "side by side"


def _packed(lowered: Lowered) -> Constants | None:
    weights = lowered.tables["weights"].astype(np.int64)
    return constants(weights.reshape(-1, weights.shape[-1]).T, lowered.tables, lowered.numbers)


def _tables(packed: Constants, padding: int | None) -> dict[str, Array]:
    """Return weights (groups, taps, 16), the stages of each group and a pixel of padding.

    The last group of channels begins 16 before their end and repeats some, if there are so many.
    """
    channels = len(packed.filters)
    starts = [*range(0, channels - _LANES, _LANES), max(0, channels - _LANES)]
    chosen = np.array(starts)[:, None] + np.arange(_LANES)
    weights = _pad(packed.filters)[chosen].transpose(0, 2, 1)
    tables: dict[str, Array] = {
        "weights": weights.astype(np.int8),
        "stage": packed.stage(chosen[:, _ORDER].reshape(-1)),
    }
    if padding is not None:
        tables["padding"] = np.full(channels, padding, np.int8)
    return tables


def _pad(filters: Int64) -> Int64:
    return np.pad(filters, ((0, max(0, _LANES - len(filters))), (0, 0)))
