"""Depthwise convolution with a small kernel on the DSP extension, straight from the rows.

One output row per call, channel by channel: the inputs of a column are read once, two kernel rows
as a pair for SMLAD, and added to every output that sees them. No scratch memory is needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolchain.kernels import cost
from toolchain.kernels.base import Isa, Specialised, integer
from toolchain.kernels.conv_dsp import Geometry
from toolchain.kernels.depthwise_dsp import (
    extra_type,
    in_order,
    in_pairs,
    over_row,
    packed_filters,
)
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
        keys = "in_w", "in_c", "out_w", "kernel", "stride_w", "pad_left", "pad_rows"
        numbers: dict[str, Number] = {
            **{key: lowered.numbers[key] for key in keys},
            "x_pair": _twice(integer(lowered.numbers, "x_zero")),
            "extra": extra_type(tables),
            "odd_zero": output.odd_zero,
            **output.shared_numbers,
        }
        geometry = Geometry.of(lowered.numbers)
        kernel = geometry.kernel
        sizes = geometry.in_w, geometry.out_w, geometry.in_c
        weights = in_pairs(tables["weights"].reshape(-1, *kernel).astype(np.int64))
        return Specialised(
            numbers,
            {**tables, "weights": weights},
            in_order=in_order(taps),
            over_row=over_row(taps, integer(lowered.numbers, "multiplier")),
            taps=taps,
            instructions=cost.rolling(kernel, geometry.stride_w, sizes, taps, output.mode),
            reads=cost.calls_of(taps),
        )


def _twice(x_zero: int) -> int:
    """Return a word with the zero point in both halves, as a signed number."""
    return (x_zero << 16) + (x_zero & 0xFFFF)


def _fits(g: Geometry) -> bool:
    """Tell whether weights and sums fit the registers, and only the outer outputs see padding."""
    lead = max(0, g.kernel[1] - g.stride_w)
    last = (g.out_w - 1) * g.stride_w - g.pad_left
    before = last - g.stride_w + g.kernel[1] if g.out_w > 1 else 0
    return max(g.kernel) <= _LARGEST and g.pad_left <= lead and before <= g.in_w
