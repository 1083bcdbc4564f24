"""Pools and means on the DSP extension: four channels of a pixel are a word."""

from __future__ import annotations

from dataclasses import dataclass

from toolchain.kernels.base import Isa, Specialised, integer
from toolchain.kernels.pool_mve import by_rows, channel_means, mean_numbers, window_area
from toolchain.ops.base import Lowered

_LARGEST = 255  # inputs whose sum 16 bits hold


@dataclass(frozen=True)
class AveragePoolDsp:
    """Average pools of int8, sums of two channels in a word."""

    name: str = "average_pool2d_dsp"
    isa: Isa = Isa.DSP

    def supports(self, lowered: Lowered) -> bool:
        """See `Kernel.supports`."""
        return (
            lowered.kernel == "average_pool2d"
            and _whole_words(lowered)
            and window_area(lowered) <= _LARGEST
        )

    def specialise(self, lowered: Lowered) -> Specialised:
        """See `Kernel.specialise`."""
        return by_rows(lowered)


@dataclass(frozen=True)
class MaxPoolDsp:
    """Greatest inputs of int8, four at a time."""

    name: str = "max_pool2d_dsp"
    isa: Isa = Isa.DSP

    def supports(self, lowered: Lowered) -> bool:
        """See `Kernel.supports`: outputs are not limited from above."""
        plain = lowered.kernel == "max_pool2d" and lowered.numbers["y_max"] == 127
        return plain and _whole_words(lowered)

    def specialise(self, lowered: Lowered) -> Specialised:
        """See `Kernel.specialise`."""
        return by_rows(lowered)


@dataclass(frozen=True)
class MeanDsp:
    """The mean of each channel, the last axis."""

    name: str = "mean_dsp"
    isa: Isa = Isa.DSP

    def supports(self, lowered: Lowered) -> bool:
        """See `Kernel.supports`."""
        found = channel_means(lowered) if lowered.kernel == "mean" else None
        return found is not None and found[0] % 4 == 0 and found[1] <= _LARGEST

    def specialise(self, lowered: Lowered) -> Specialised:
        """See `Kernel.specialise`."""
        return Specialised(mean_numbers(lowered))


def _whole_words(lowered: Lowered) -> bool:
    return lowered.numbers["bits"] == 8 and integer(lowered.numbers, "channels") % 4 == 0
