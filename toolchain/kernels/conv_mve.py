"""Convolution on the vector extension: blocks of 2 pixels and 4 filters.

VMLADAVA adds 16 products of bytes to one sum, so inputs and weights stay bytes; a step loads 2
vectors of inputs and 4 of weights for 128 products. The input's zero point is folded into the
bias, so padding is filled in with the zero point.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from toolchain.kernels import cost_mve
from toolchain.kernels.base import Isa, Specialised, integer
from toolchain.kernels.conv_dsp import Geometry, plain_filters
from toolchain.kernels.packing_mve import Constants, constants, matrix_helpers, matrix_tables
from toolchain.ops.base import Lowered, Number, RowTaps

BLOCK = 2


@dataclass(frozen=True)
class Conv1x1Mve:
    """Pointwise convolution without strides: pixels are multiplied where they lie."""

    name: str = "conv1x1_mve"
    isa: Isa = Isa.MVE

    def supports(self, lowered: Lowered) -> bool:
        """See `Kernel.supports`."""
        n, taps = lowered.numbers, lowered.taps
        return (
            lowered.kernel == "conv2d"
            and n["kernel"] == (1, 1)
            and taps is not None
            and (taps.stride, n["stride_w"]) == (1, 1)
            and not Geometry.of(n).edges
            and _packed(lowered) is not None
        )

    def specialise(self, lowered: Lowered) -> Specialised:
        """See `Kernel.specialise`: a block that leaves its slice reads inputs before it writes."""
        packed, taps = _packed(lowered), lowered.taps
        assert packed is not None
        assert taps is not None
        in_c, out_c = integer(lowered.numbers, "in_c"), len(packed.filters)
        width, rows = taps.in_row_size // in_c, taps.batch * taps.in_rows
        pixels = rows * width
        long_row = replace(
            taps, batch=1, in_rows=1, out_rows=1,
            in_row_size=pixels * in_c, out_row_size=pixels * out_c,
        )  # fmt: skip
        copied = pixels > 1 and (width % BLOCK > 0 or rows == 1)
        numbers: dict[str, Number] = {
            "pairs": pixels // BLOCK,
            "last": pixels % BLOCK,
            "in_c": in_c,
            "out_c": out_c,
            "scalar": packed.scalar,
            "copied": copied,
        }
        return Specialised(
            numbers,
            matrix_tables(packed),
            -(-BLOCK * in_c // 4) * 4 if copied else 0,
            in_order=True,
            taps=long_row,
            helpers=matrix_helpers(packed, pixels),
            instructions=cost_mve.pointwise(_products(packed, pixels), copied=copied),
        )


@dataclass(frozen=True)
class Conv2dMve:
    """Convolution of one group with any kernel, stride, dilation and padding, row by row.

    The windows of a block are brought together in scratch memory.
    """

    name: str = "conv2d_mve"
    isa: Isa = Isa.MVE

    def supports(self, lowered: Lowered) -> bool:
        """See `Kernel.supports`."""
        return plain_filters(lowered) is not None and _packed(lowered) is not None

    def specialise(self, lowered: Lowered) -> Specialised:
        """See `Kernel.specialise`."""
        packed, geometry = _packed(lowered), Geometry.of(lowered.numbers)
        assert packed is not None
        depth = packed.filters.shape[1]
        numbers: dict[str, Number] = {
            **{k: lowered.numbers[k] for k in ("kernel", "in_w", "in_c", "out_w", "x_zero")},
            **{k: lowered.numbers[k] for k in ("stride_w", "dilation_w", "pad_left", "pad_rows")},
            "out_c": len(packed.filters),
            "width": geometry.width,
            "edges": geometry.edges,
            "scalar": packed.scalar,
        }
        return Specialised(
            numbers,
            matrix_tables(packed),
            -(-min(BLOCK, geometry.out_w) * depth // 4) * 4,
            in_order=True,
            taps=lowered.taps,
            helpers=matrix_helpers(packed, geometry.out_w),
            instructions=_windows(packed, geometry, lowered.taps),
        )


def _windows(packed: Constants, geometry: Geometry, taps: RowTaps | None) -> int:
    assert taps is not None
    return cost_mve.windows(_products(packed, geometry.out_w), geometry, taps)


def _products(packed: Constants, pixels: int) -> cost_mve.Products:
    count, depth = packed.filters.shape
    return cost_mve.Products(pixels, depth, count, packed.twice)


def _packed(lowered: Lowered) -> Constants | None:
    filters = plain_filters(lowered)
    if filters is None:
        return None
    return constants(filters, lowered.tables, lowered.numbers, common=True)
