"""Depthwise convolution over time on the DSP extension: maps that are one pixel wide.

One output pixel per call, 4 channels at a time: the inputs of two steps are brought together in
pairs for SMLAD. Nothing is gathered and no scratch memory is needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolchain.ir.tensor import Array
from toolchain.kernels import cost
from toolchain.kernels.base import Helper, Isa, Specialised, integer
from toolchain.kernels.conv_dsp import Geometry
from toolchain.kernels.depthwise_dsp import extra_type, in_order, in_place, over_row, packed_filters
from toolchain.ops.base import Lowered, Number

_LANES = 4


@dataclass(frozen=True)
class DepthwiseColumnDsp:
    """Depthwise convolution without padding, kernel and map one column wide, multiplier 1."""

    name: str = "depthwise_column_dsp"
    isa: Isa = Isa.DSP

    def supports(self, lowered: Lowered) -> bool:
        """See `Kernel.supports`."""
        n, taps = lowered.numbers, lowered.taps
        return (
            lowered.kernel == "depthwise_conv2d"
            and taps is not None
            and not taps.padded
            and (n["w_zero"], n["multiplier"], n["in_w"], n["out_w"]) == (0, 1, 1, 1)
            and Geometry.of(n).kernel[1] == 1
            and integer(n, "in_c") % _LANES == 0
            and packed_filters(lowered) is not None
        )

    def specialise(self, lowered: Lowered) -> Specialised:
        """See `Kernel.specialise`."""
        packed, taps = packed_filters(lowered), lowered.taps
        assert packed is not None
        assert taps is not None
        tables, output = packed
        steps = Geometry.of(lowered.numbers).kernel[0]
        extra = extra_type(tables)
        numbers: dict[str, Number] = {
            "steps": steps,
            "in_c": integer(lowered.numbers, "in_c"),
            "extra": extra,
        }
        helper: dict[str, Number] = {"odd": steps % 2, "extra": extra, **output.numbers}
        return Specialised(
            numbers,
            {**tables, "weights": _interleave(tables["weights"])},
            in_order=in_order(taps),
            in_place=in_place(taps, 1),
            over_row=over_row(taps, 1),
            taps=taps,
            helpers=(Helper("column_dsp", helper),),
            instructions=cost.columns(steps, len(tables["weights"]), taps, output.mode),
        )


def _interleave(weights: Array) -> Array:
    """Bring (channels, steps) into the order in which they are read, 4 channels after another.

    Two steps of channels 0 and 1, then of 2 and 3: SXTB16 makes pairs of a channel's two steps. A
    last step alone is left as it is.
    """
    channels, steps = weights.shape
    fours = weights.reshape(channels // _LANES, _LANES, steps)
    whole = fours[:, :, : steps // 2 * 2].reshape(len(fours), 2, 2, steps // 2, 2)
    pairs = whole.transpose(0, 3, 1, 4, 2).reshape(len(fours), -1)
    last = fours[:, :, steps // 2 * 2 :].reshape(len(fours), -1)
    return np.ascontiguousarray(np.concatenate([pairs, last], 1))
