"""Depthwise convolution of single rows on the DSP extension: pairs of input rows.

A stage that streams rows cannot gather a row once for all output rows that see it. So what it
gathers is made for one output row: two input rows at a time, what lies in the
same column as a pair. SMLAD multiplies it with two taps of a kernel column, for any output in the
same way, and the columns of a pair of rows serve four outputs. The last row of an odd number is
gathered as `toolchain.kernels.depthwise_dsp` does it. Four channels are gathered at once where
there is room for four such planes: bytes that lie side by side are then loaded together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolchain.kernels import cost
from toolchain.kernels.base import Helper, Isa, Specialised, integer
from toolchain.kernels.conv_dsp import Geometry
from toolchain.kernels.depthwise_dsp import (
    GROUP,
    extra_type,
    in_order,
    in_pairs,
    in_place,
    over_row,
    packed_filters,
)
from toolchain.kernels.packing_apart import zeros
from toolchain.ops.base import Lowered, Number


@dataclass(frozen=True)
class DepthwisePairsDsp:
    """Depthwise convolution of any kernel, stride and multiplier; columns are not dilated.

    Attributes:
        lanes: channels that are gathered together, 1 or 4: so many times the scratch memory.
    """

    name: str = "depthwise_pairs_dsp"
    isa: Isa = Isa.DSP
    lanes: int = 4

    def supports(self, lowered: Lowered) -> bool:
        """See `Kernel.supports`."""
        return (
            lowered.kernel == "depthwise_conv2d"
            and lowered.taps is not None
            and lowered.numbers["dilation_w"] == 1
            and integer(lowered.numbers, "in_c") % self.lanes == 0
            and _columns(Geometry.of(lowered.numbers)) > 0
            and packed_filters(lowered) is not None
        )

    def specialise(self, lowered: Lowered) -> Specialised:
        """See `Kernel.specialise`."""
        geometry, taps = Geometry.of(lowered.numbers), lowered.taps
        packed = packed_filters(lowered)
        assert taps is not None
        assert packed is not None
        tables, output = packed
        height, width = geometry.kernel
        row_words, columns = _span(geometry), _columns(geometry)
        words = height // 2 * row_words + height % 2 * ((row_words + 1) // 2)
        multiplier = integer(lowered.numbers, "multiplier")
        numbers: dict[str, Number] = {
            **{k: lowered.numbers[k] for k in ("in_c", "multiplier", "x_zero")},
            "zeros": zeros(output.odd_zero, lowered.numbers),
            "first": geometry.pad_left,
            "pad_rows": taps.padded,
            "padded": taps.padded or geometry.edges,
            "lanes": self.lanes,
            "height": height,
            "columns": columns,
            "row_words": row_words,
            "words": words,
            "out_w": geometry.out_w,
            "taps": height * width,
            "extra": extra_type(tables),
        }
        helper: dict[str, Number] = {
            "kernel": geometry.kernel,
            "stride_w": geometry.stride_w,
            "narrow": geometry.out_w if geometry.out_w < GROUP else 0,
            "whole": geometry.out_w % GROUP == 0 or geometry.out_w < GROUP,
            "w_zero": lowered.numbers["w_zero"] != 0,
            **output.shared_numbers,
        }
        filters = tables["weights"].reshape(-1, height, width).astype(np.int64)
        return Specialised(
            numbers,
            {**tables, "weights": in_pairs(filters)},
            4 * self.lanes * words,
            in_order=in_order(taps),
            in_place=in_place(taps, multiplier),
            over_row=over_row(taps, multiplier),
            taps=taps,
            helpers=(Helper("row_pairs_dsp", helper),),
            template="depthwise_pairs_dsp",
            instructions=cost.row_pairs(
                geometry.kernel,
                geometry.stride_w,
                (columns, geometry.out_w, len(filters)),
                taps,
                output.mode,
                lanes=self.lanes,
            ),
        )


def _span(g: Geometry) -> int:
    """Return the columns that an output row sees, padding among them."""
    return (g.out_w - 1) * g.stride_w + g.kernel[1]


def _columns(g: Geometry) -> int:
    """Return those of the input, none if all is padding."""
    return min(g.in_w, _span(g) - g.pad_left)
