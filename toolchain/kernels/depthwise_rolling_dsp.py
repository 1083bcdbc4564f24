"""Depthwise convolution with a small kernel on the DSP extension, straight from the rows.

One output row per call, channel by channel: the inputs of a column are read once, two kernel rows
as a pair for SMLAD, and added to every output that sees them. No scratch memory is needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolchain.ir.tensor import Array
from toolchain.kernels import cost
from toolchain.kernels.base import Isa, Specialised, integer
from toolchain.kernels.conv_dsp import Geometry
from toolchain.kernels.depthwise_dsp import extra_type, in_order, over_row, packed_filters
from toolchain.numerics import Int64
from toolchain.ops.base import Lowered, Number

_LARGEST = 3  # more weights do not fit the registers


@dataclass(frozen=True)
class DepthwiseRollingDsp:
    """Depthwise convolution of kernels up to 3x3, one filter per channel."""

    name: str = "depthwise_rolling_dsp"
    isa: Isa = Isa.DSP

    def supports(self, lowered: Lowered) -> bool:
        """See `Kernel.supports`."""
        return (
            lowered.kernel == "depthwise_conv2d"
            and lowered.taps is not None
            and lowered.taps.sees_rows
            and (lowered.numbers["w_zero"], lowered.numbers["multiplier"]) == (0, 1)
            and lowered.numbers["dilation_w"] == 1
            and _fits(Geometry.of(lowered.numbers))
            and packed_filters(lowered) is not None
        )

    def specialise(self, lowered: Lowered) -> Specialised:
        """See `Kernel.specialise`."""
        packed, taps = packed_filters(lowered), lowered.taps
        assert packed is not None
        assert taps is not None
        tables, output = packed
        keys = "in_w", "in_c", "out_w", "kernel", "stride_w", "pad_left", "pad_rows", "x_zero"
        numbers: dict[str, Number] = {
            **{key: lowered.numbers[key] for key in keys},
            "extra": extra_type(tables),
            **output.numbers,
        }
        geometry = Geometry.of(lowered.numbers)
        kernel = geometry.kernel
        sizes = geometry.in_w, geometry.out_w, geometry.in_c
        weights = _in_pairs(tables["weights"].reshape(-1, *kernel).astype(np.int64))
        return Specialised(
            numbers,
            {**tables, "weights": weights},
            in_order=in_order(taps),
            over_row=over_row(taps, integer(lowered.numbers, "multiplier")),
            taps=taps,
            instructions=cost.rolling(kernel, geometry.stride_w, sizes, taps, output.mode),
        )


def _fits(g: Geometry) -> bool:
    """Tell whether weights and sums fit the registers, and only the outer outputs see padding."""
    lead = max(0, g.kernel[1] - g.stride_w)
    last = (g.out_w - 1) * g.stride_w - g.pad_left
    before = last - g.stride_w + g.kernel[1] if g.out_w > 1 else 0
    return max(g.kernel) <= _LARGEST and g.pad_left <= lead and before <= g.in_w


def _in_pairs(filters: Int64) -> Array:
    """Bring filters (channels, KH, KW) into the order in which the kernel's pairs are read.

    Pairs of the first two rows come first, column by column, then pairs of columns of a row alone;
    two pairs share a word (the first one the even bytes, as SXTB16 widens them); what is left over
    comes last.
    """
    count, height, width = filters.shape
    pairs = [filters[:, :2, kx] for kx in range(width)] if height > 1 else []
    if height % 2:
        pairs += [filters[:, -1, kx : kx + 2] for kx in range(0, width - 1, 2)]
    words = [
        np.stack([pairs[i], pairs[i + 1]], 2).reshape(count, 4) for i in range(0, len(pairs) - 1, 2)
    ]
    rest = pairs[len(pairs) // 2 * 2 :]
    last = [filters[:, -1, width - 1 :]] if height % 2 and width % 2 else []
    return np.concatenate([*words, *rest, *last], 1).astype(np.int8)
