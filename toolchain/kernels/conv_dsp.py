"""Convolution on the DSP extension: blocks of up to 3 pixels and 2 filters.

Inputs of a block are widened to 16 bits once, in scratch memory, and multiplied with all filters:
one SMLAD per product pair, 17 instructions for 24 products in the inner step. The input's zero
point is folded into the bias, so padding is filled in with the zero point.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache

import numpy as np

from toolchain.ir.tensor import Array
from toolchain.kernels import cost
from toolchain.kernels.base import Helper, Isa, Specialised, integer
from toolchain.kernels.nibble_packing import pack_pairs, unpacked
from toolchain.kernels.packing import Packed, pack
from toolchain.kernels.packing_apart import pack_apart, zeros
from toolchain.numerics import Int64
from toolchain.ops.base import Lowered, Number

BLOCK = 3
_REMEMBERED = 512  # packed filters: several kernels read the same ones


class Packing(Enum):
    """How two filters share words of weights."""

    PAIRS = "pairs"  # a lane for both, see `toolchain.kernels.packing`
    NIBBLES = "nibbles"  # weights of 4 bits, see `toolchain.kernels.nibble_packing`
    APART = "apart"  # a word each, see `toolchain.kernels.packing_apart`


_PRICES = {
    Packing.PAIRS: cost.PAIRS,
    Packing.NIBBLES: cost.NIBBLES,
    Packing.APART: cost.APART,
}


@dataclass(frozen=True)
class Geometry:
    """How a convolution's window lies in an input row.

    Attributes:
        kernel: (height, width).
        in_w: pixels of an input row.
        in_c: channels.
        out_w: pixels of an output row.
        stride_w: step along a row.
        dilation_w: distance of the kernel's columns.
        pad_left: columns of padding before the row.
        pad_rows: whether rows of the window may be padding.
    """

    kernel: tuple[int, int]
    in_w: int
    in_c: int
    out_w: int
    stride_w: int
    dilation_w: int
    pad_left: int
    pad_rows: bool

    @classmethod
    def of(cls, numbers: Mapping[str, Number]) -> Geometry:
        """Read the geometry from the numbers of a convolution."""
        match numbers["kernel"]:
            case (int(height), int(width)):
                kernel = height, width
            case other:
                raise TypeError(f"kernel is {other!r}, not two integers")
        return cls(
            kernel,
            integer(numbers, "in_w"),
            integer(numbers, "in_c"),
            integer(numbers, "out_w"),
            integer(numbers, "stride_w"),
            integer(numbers, "dilation_w"),
            integer(numbers, "pad_left"),
            bool(numbers["pad_rows"]),
        )

    @property
    def width(self) -> int:
        """Return the columns that lie side by side: the kernel's, or one if it is dilated."""
        return self.kernel[1] if self.dilation_w == 1 else 1

    @property
    def length(self) -> int:
        """Return the bytes of a segment: inputs that lie side by side."""
        return self.width * self.in_c

    @property
    def segments(self) -> int:
        """Return how many segments make up a window."""
        return self.kernel[0] * self.kernel[1] // self.width

    @property
    def edges(self) -> bool:
        """Tell whether a window may leave the map."""
        last = (self.out_w - 1) * self.stride_w - self.pad_left
        reach = last + (self.kernel[1] - 1) * self.dilation_w
        return self.pad_rows or self.pad_left > 0 or reach >= self.in_w

    @property
    def inside(self) -> tuple[int, int]:
        """Return the run of output columns whose windows lie in the map: first, and behind last."""
        reach = (self.kernel[1] - 1) * self.dilation_w
        first = min(-(-self.pad_left // self.stride_w), self.out_w)
        end = (self.in_w - 1 - reach + self.pad_left) // self.stride_w + 1
        return first, min(max(end, first), self.out_w)

    @property
    def loose(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """Return the words behind the segments: up to 4 bytes, each as (segment, offset)."""
        whole = self.length // 4 * 4
        left = [(s, at) for s in range(self.segments) for at in range(whole, self.length)]
        return tuple(tuple(left[i : i + 4]) for i in range(0, len(left), 4))

    @property
    def steps(self) -> int:
        """Return the words of a window."""
        return self.segments * (self.length // 4) + len(self.loose)

    def arrange(self, filters: Int64) -> Int64:
        """Bring filters (N, KH * KW * C) into the order in which a window is read: (N, K)."""
        parts = filters.reshape(len(filters), self.segments, self.length)
        whole = parts[:, :, : self.length // 4 * 4].reshape(len(filters), -1)
        rest = parts[:, :, self.length // 4 * 4 :].reshape(len(filters), -1)
        return np.pad(np.concatenate([whole, rest], 1), ((0, 0), (0, -rest.shape[1] % 4)))


@dataclass(frozen=True)
class Conv2dDsp:
    """Convolution of one group with any kernel, stride, dilation and padding, row by row.

    Attributes:
        packing: how two filters share a word of weights.
    """

    name: str = "conv2d_dsp"
    isa: Isa = Isa.DSP
    packing: Packing = Packing.PAIRS

    def supports(self, lowered: Lowered) -> bool:
        """See `Kernel.supports`."""
        return _packed(lowered, self.packing) is not None

    def specialise(self, lowered: Lowered) -> Specialised:
        """See `Kernel.specialise`."""
        packed = _packed(lowered, self.packing)
        geometry = Geometry.of(lowered.numbers)
        assert packed is not None
        blocks, prices = split(geometry.out_w), _prices(lowered, self.packing)
        staged, edges, scratch = _staging(geometry, blocks)
        numbers: dict[str, Number] = {
            **{k: lowered.numbers[k] for k in ("kernel", "in_w", "in_c", "out_w", "x_zero")},
            **{k: lowered.numbers[k] for k in ("stride_w", "dilation_w", "pad_left")},
            "out_c": len(packed.output.bias),
            "pairs": len(packed.stage),
            "steps": geometry.steps,
            "width": geometry.width,
            "loose": geometry.loose,
            "staged": staged,
            "edges": edges,
            "blocks": blocks,
            "odd_zero": _zeros(packed, self.packing, lowered),
        }
        return Specialised(
            numbers,
            _tables(packed),
            scratch,
            in_order=True,
            taps=lowered.taps,
            helpers=_helpers(packed, blocks, self.packing, lowered),
            instructions=_windows(_blocks(packed, geometry.out_w, geometry.steps, prices), lowered),
            reads=sum(count for _, count in blocks) * cost.calls_of(lowered.taps),
        )


@dataclass(frozen=True)
class Conv1x1Dsp:
    """Pointwise convolution: the whole map is one long row of pixels.

    Attributes:
        packing: how two filters share a word of weights.
    """

    name: str = "conv1x1_dsp"
    isa: Isa = Isa.DSP
    packing: Packing = Packing.PAIRS

    def supports(self, lowered: Lowered) -> bool:
        """See `Kernel.supports`."""
        n, taps = lowered.numbers, lowered.taps
        return (
            lowered.kernel in ("conv2d", "conv2d_w4")
            and n["kernel"] == (1, 1)
            and taps is not None
            and (taps.stride, n["stride_w"]) == (1, 1)
            and not Geometry.of(n).edges
            and integer(n, "in_c") % 4 == 0
            and taps.batch * taps.in_rows * integer(n, "in_w") > 1
            and _packed(lowered, self.packing) is not None
        )

    def specialise(self, lowered: Lowered) -> Specialised:
        """See `Kernel.specialise`."""
        packed, taps = _packed(lowered, self.packing), lowered.taps
        assert packed is not None
        assert taps is not None
        in_c = integer(lowered.numbers, "in_c")
        out_c, rows = len(packed.output.bias), taps.batch * taps.in_rows
        pixels = rows * taps.in_row_size // in_c
        long_row = replace(
            taps, batch=1, in_rows=1, out_rows=1,
            in_row_size=pixels * in_c, out_row_size=pixels * out_c,
        )  # fmt: skip
        blocks, prices = split(pixels), _prices(lowered, self.packing)
        counts = dict(blocks)
        numbers: dict[str, Number] = {
            "in_c": in_c,
            "out_c": out_c,
            "pairs": len(packed.stage),
            "threes": counts.get(BLOCK, 0),
            "twos": counts.get(2, 0),
            "odd_zero": _zeros(packed, self.packing, lowered),
        }
        return Specialised(
            numbers,
            _tables(packed),
            blocks[0][0] * in_c * 2,
            in_order=True,
            blocks=blocks,
            taps=long_row,
            helpers=_helpers(packed, blocks, self.packing, lowered),
            instructions=cost.pointwise(_blocks(packed, pixels, in_c // 4, prices)),
            reads=sum(count for _, count in blocks),
        )


def plain_filters(lowered: Lowered) -> Int64 | None:
    """Return the filters as (N, KH * KW * C), ``None`` if this is no plain convolution.

    A depthwise convolution of a single channel is a convolution, too. The weights' zero point is 0.
    """
    return _filters(lowered) if lowered.numbers.get("w_zero") == 0 else None


def _filters(lowered: Lowered) -> Int64 | None:
    n = lowered.numbers
    if lowered.taps is None or "w_zero" not in n:
        return None
    weights = lowered.tables["weights"].astype(np.int64)
    if lowered.kernel == "conv2d" and n["groups"] == 1:
        return weights.reshape(len(weights), -1)
    if lowered.kernel == "depthwise_conv2d" and n["in_c"] == 1:
        return weights.reshape(-1, weights.shape[-1]).T
    return None


@lru_cache(_REMEMBERED)
def _packed(lowered: Lowered, packing: Packing) -> Packed | None:
    match packing:
        case Packing.PAIRS:
            filters = plain_filters(lowered)
        case Packing.NIBBLES:
            filters = nibble_filters(lowered)
        case Packing.APART:
            filters = _filters(lowered)
    if filters is None:
        return None
    arrange = Geometry.of(lowered.numbers).arrange
    if packing is Packing.APART:
        return pack_apart(filters, lowered.tables, lowered.numbers, arrange)
    combine = pack_pairs if packing is Packing.NIBBLES else pack
    return combine(arrange(filters), lowered.tables, lowered.numbers)


def nibble_filters(lowered: Lowered) -> Int64 | None:
    """Return 4-bit filters as (N, KH * KW * C), ``None`` if this is no convolution of one group."""
    n = lowered.numbers
    if lowered.kernel != "conv2d_w4" or lowered.taps is None or n["groups"] != 1:
        return None
    height, width = Geometry.of(n).kernel
    return unpacked(lowered.tables, height * width * integer(n, "in_c"))


def packed_pairs(lowered: Lowered) -> Packed | None:
    """Return the filters of a plain convolution in pairs, in the order of `Geometry.arrange`."""
    return _packed(lowered, Packing.PAIRS)


def _tables(packed: Packed) -> dict[str, Array]:
    return {"weights": packed.weights, "stage": packed.stage}


def split(pixels: int) -> tuple[tuple[int, int], ...]:
    """Return the blocks of a row as (pixels, count), larger ones first.

    Two blocks of 2 take fewer instructions than one of 3 and a single pixel.
    """
    threes, twos = pixels // BLOCK, (0, 2, 1)[pixels % BLOCK]
    if twos == 2:
        threes -= 1
    if threes < 0:
        return ((1, 1),)
    return tuple(run for run in ((BLOCK, threes), (2, twos)) if run[1])


def _staging(geometry: Geometry, blocks: tuple[tuple[int, int], ...]) -> tuple[int, int, int]:
    """Return how segments that leave the map are brought together, before they are widened.

    A segment whose words are all widened at once may lie where these go to, as far behind as no
    word is overwritten before it is read.

    Returns:
        Places for a segment, where the first begins, and bytes of scratch memory in all.
    """
    most, length = blocks[0][0], geometry.length
    wide = most * geometry.steps * 8
    if not geometry.edges:
        return 0, 0, wide
    places = _leaving(geometry, most)
    if geometry.loose:
        return places, wide, -(-(wide + geometry.segments * places * length) // 4) * 4
    ahead = 2 * most * length * (geometry.segments - 1) + (2 * most - 1) * (length - 4)
    return places, ahead, max(wide, ahead + places * length)


def _leaving(geometry: Geometry, most: int) -> int:
    """Return how many pixels of a block may have segments that leave the map, and are not alike.

    Rows that are padding are alike, and so are single columns outside the map.
    """
    first, end = geometry.inside
    if geometry.width == 1:
        return 1
    if first and end < geometry.out_w and end - first < most - 1:
        return most  # a block may leave the map on both sides
    return min(max(1, first, geometry.out_w - end), most)


def _blocks(packed: Packed, pixels: int, steps: int, prices: cost.Matrix) -> cost.Blocks:
    return cost.Blocks(split(pixels), len(packed.stage), steps, packed.output.mode, prices)


def _prices(lowered: Lowered, packing: Packing) -> cost.Matrix:
    summed = packing is Packing.APART and lowered.numbers["w_zero"] != 0
    return cost.APART_ZERO if summed else _PRICES[packing]


def _windows(blocks: cost.Blocks, lowered: Lowered) -> int:
    geometry, taps = Geometry.of(lowered.numbers), lowered.taps
    assert taps is not None
    pieces = geometry.segments, geometry.length
    return cost.windows(blocks, taps, *pieces, edges=geometry.edges)


def _zeros(packed: Packed, packing: Packing, lowered: Lowered) -> int:
    """Return what the matrix products are told of zero points."""
    odd_zero = packed.output.odd_zero
    return zeros(odd_zero, lowered.numbers) if packing is Packing.APART else odd_zero


def _helpers(
    packed: Packed, blocks: tuple[tuple[int, int], ...], packing: Packing, lowered: Lowered
) -> tuple[Helper, ...]:
    """Return the matrix products for the blocks of a row."""
    template = "matmul_dsp"
    common: dict[str, Number] = {"odd": len(packed.output.bias) % 2, **packed.numbers}
    if packing is Packing.APART:
        template = "matmul_apart_dsp"
        common["w_zero"] = lowered.numbers["w_zero"] != 0
    return tuple(Helper(template, {"pixels": p, **common}) for p, _ in blocks)
