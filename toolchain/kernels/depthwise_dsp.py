"""Depthwise convolution on the DSP extension: planes of 16-bit pairs, channel by channel.

The rows of one channel are gathered into a small padded plane in scratch memory. There, pixels
that are neighbours in a row are neighbours in a word, so SMLAD multiplies two taps of a kernel row
at once, and the words of a kernel row serve four outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from toolchain.ir.tensor import Array
from toolchain.kernels import cost
from toolchain.kernels.base import Helper, Isa, Specialised, integer
from toolchain.kernels.conv_dsp import Geometry
from toolchain.kernels.output_stage import OutputStage, choose, filters_of
from toolchain.kernels.packing import folded, reachable
from toolchain.numerics import Int64
from toolchain.ops.base import Lowered, Number, RowTaps

_SCRATCH = 6144  # a plane may take about as much as a small network's other needs
GROUP = 4  # outputs side by side


@dataclass(frozen=True)
class DepthwiseDsp:
    """Depthwise convolution of any kernel, stride and multiplier; columns are not dilated."""

    name: str = "depthwise_conv2d_dsp"
    isa: Isa = Isa.DSP

    def supports(self, lowered: Lowered) -> bool:
        """See `Kernel.supports`."""
        return (
            lowered.kernel == "depthwise_conv2d"
            and lowered.taps is not None
            and lowered.numbers["w_zero"] == 0
            and lowered.numbers["dilation_w"] == 1
            and packed_filters(lowered) is not None
        )

    def specialise(self, lowered: Lowered) -> Specialised:
        """See `Kernel.specialise`."""
        geometry, taps = Geometry.of(lowered.numbers), lowered.taps
        packed = packed_filters(lowered)
        assert taps is not None
        assert packed is not None
        tables, output = packed
        row_words = ((geometry.out_w - 1) * geometry.stride_w + geometry.kernel[1] + 1) // 2
        taps = _rows_per_call(taps, 4 * row_words)
        used = min(geometry.in_w, 2 * row_words - geometry.pad_left)
        paired = used - geometry.pad_left % 2
        numbers: dict[str, Number] = {
            **{k: lowered.numbers[k] for k in ("in_c", "multiplier", "x_zero")},
            "odd_zero": output.odd_zero,
            "first": geometry.pad_left // 2,
            "odd": geometry.pad_left % 2,
            "pad_rows": taps.padded,
            "padded": taps.padded or geometry.edges,
            "rows": taps.rows,
            "in_rows": taps.count,
            "row_words": row_words,
            "words": row_words * taps.count,
            "out_w": geometry.out_w,
            "pairs": paired // 2,
            "last": paired % 2,
            "taps": tables["weights"].shape[1],
            "extra": extra_type(tables),
        }
        helper: dict[str, Number] = {
            "kernel": geometry.kernel,
            "stride_h": taps.stride,
            "stride_w": geometry.stride_w,
            "narrow": geometry.out_w if geometry.out_w < GROUP else 0,
            "whole": geometry.out_w % GROUP == 0 or geometry.out_w < GROUP,
            **output.shared_numbers,
        }
        return Specialised(
            numbers,
            tables,
            4 * row_words * taps.count,
            in_order=in_order(taps),
            in_place=in_place(taps, integer(lowered.numbers, "multiplier")),
            over_row=over_row(taps, integer(lowered.numbers, "multiplier")),
            taps=taps,
            helpers=(Helper("plane_dsp", helper),),
            instructions=cost.planes(
                geometry.kernel,
                (paired // 2, geometry.out_w),
                len(tables["weights"]),
                taps,
                output.mode,
            ),
        )


def in_place(taps: RowTaps, multiplier: int) -> bool:
    """Tell whether one call reads all of a channel before it writes it where that stood."""
    once = taps.rows == taps.out_rows and taps.batch == 1
    smaller = taps.out_rows * taps.out_row_size <= taps.in_rows * taps.in_row_size
    return once and multiplier == 1 and smaller


def in_order(taps: RowTaps) -> bool:
    """Tell whether outputs come in order; a single row would have to come column by column."""
    return taps.rows == 1 and taps.out_rows > 1


def over_row(taps: RowTaps, multiplier: int) -> bool:
    """Tell whether a row made channel by channel fits where one that it is made from lies."""
    return taps.rows == 1 and multiplier == 1 and taps.out_row_size <= taps.in_row_size


def _rows_per_call(taps: RowTaps, row_bytes: int) -> RowTaps:
    """Make as many output rows per call as scratch memory allows: input rows are gathered once."""
    if taps.dilation > 1:
        return taps

    def count(rows: int) -> int:
        return (rows - 1) * taps.stride + taps.count

    divisors = (r for r in range(taps.out_rows, 1, -1) if taps.out_rows % r == 0)
    rows = next((r for r in divisors if count(r) * row_bytes <= _SCRATCH), 1)
    return replace(taps, rows=rows, count=count(rows))


def _filters(lowered: Lowered) -> Int64:
    """Return the filters as (channels, KH * KW)."""
    weights = lowered.tables["weights"].astype(np.int64)
    return weights.reshape(-1, weights.shape[-1]).T


def extra_type(tables: Mapping[str, Array]) -> str:
    """Return the C type of a table of extras, empty if there is none."""
    return f"{tables['extra'].dtype}_t" if "extra" in tables else ""


def packed_filters(lowered: Lowered) -> tuple[dict[str, Array], OutputStage] | None:
    """Return tables, weights as (channels, KH * KW), and output stage; ``None`` on overflow."""
    tables, n, filters = lowered.tables, lowered.numbers, _filters(lowered)
    zero = integer(n, "w_zero")
    bias, low, high = reach = reachable(
        filters - zero, tables["bias"].astype(np.int64), integer(n, "x_zero")
    )
    output = choose(filters_of(n, tables["multiplier"], tables["shift"], reach))
    start, far = folded(bias, low, high, output)
    if far.max() >= 2**31:
        return None
    packed: dict[str, Array] = {
        "weights": np.where(output.constant[:, None], zero, filters).astype(np.int8),
    }
    if output.lean:
        start = output.shared(start)
    packed["stage"] = np.stack([start, output.multiplier], 1).astype(np.int32)
    if not output.lean:
        packed["extra"] = output.extras
    return packed, output


def in_pairs(filters: Int64) -> Array:
    """Bring filters (channels, KH, KW) into the order in which kernels of pairs of rows read them.

    Pairs of two rows come first, column by column, then pairs of columns of a row alone;
    two pairs share a word (the first one the even bytes, as SXTB16 widens them); what is left over
    comes last.
    """
    count, height, width = filters.shape
    rows = range(0, height - 1, 2)
    pairs = [filters[:, r : r + 2, kx] for r in rows for kx in range(width)]
    if height % 2:
        pairs += [filters[:, -1, kx : kx + 2] for kx in range(0, width - 1, 2)]
    words = [
        np.stack([pairs[i], pairs[i + 1]], 2).reshape(count, 4) for i in range(0, len(pairs) - 1, 2)
    ]
    rest = pairs[len(pairs) // 2 * 2 :]
    last = [filters[:, -1, width - 1 :]] if height % 2 and width % 2 else []
    return np.concatenate([*words, *rest, *last], 1).astype(np.int8)
