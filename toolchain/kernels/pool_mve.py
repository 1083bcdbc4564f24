"""Pools and means on the vector extension: channels side by side, pixel by pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass

from toolchain.kernels.base import Isa, Specialised
from toolchain.ops.base import Lowered, Number

_LARGEST = 2048  # inputs whose sum a product with the inverse of their number still divides exactly


@dataclass(frozen=True)
class AveragePoolMve:
    """Average pools of int8: a division is a product with the inverse."""

    name: str = "average_pool2d_mve"
    isa: Isa = Isa.MVE

    def supports(self, lowered: Lowered) -> bool:
        """See `Kernel.supports`."""
        return (
            lowered.kernel == "average_pool2d"
            and lowered.numbers["bits"] == 8
            and window_area(lowered) <= _LARGEST
        )

    def specialise(self, lowered: Lowered) -> Specialised:
        """See `Kernel.specialise`."""
        return by_rows(lowered)


@dataclass(frozen=True)
class MaxPoolMve:
    """Greatest inputs of int8."""

    name: str = "max_pool2d_mve"
    isa: Isa = Isa.MVE

    def supports(self, lowered: Lowered) -> bool:
        """See `Kernel.supports`: outputs are not limited from above."""
        n = lowered.numbers
        return lowered.kernel == "max_pool2d" and (n["bits"], n["y_max"]) == (8, 127)

    def specialise(self, lowered: Lowered) -> Specialised:
        """See `Kernel.specialise`."""
        return by_rows(lowered)


@dataclass(frozen=True)
class MeanMve:
    """The mean of each channel, the last axis."""

    name: str = "mean_mve"
    isa: Isa = Isa.MVE

    def supports(self, lowered: Lowered) -> bool:
        """See `Kernel.supports`."""
        return lowered.kernel == "mean" and channel_means(lowered) is not None

    def specialise(self, lowered: Lowered) -> Specialised:
        """See `Kernel.specialise`."""
        return Specialised(mean_numbers(lowered))


def mean_numbers(lowered: Lowered) -> dict[str, Number]:
    """Return the literals of the templates for means of channels."""
    found = channel_means(lowered)
    assert found is not None
    channels, count = found
    keys = ("offset", "multiplier", "shift", "y_zero", "y_min", "y_max")
    return {"channels": channels, "count": count, **{key: lowered.numbers[key] for key in keys}}


def by_rows(lowered: Lowered) -> Specialised:
    """Return a row kernel that makes all channels of a pixel at once."""
    taps = lowered.taps
    assert taps is not None
    return Specialised(lowered.numbers, in_order=taps.out_rows > 1, taps=taps)


def window_area(lowered: Lowered) -> int:
    """Return the elements of a pool's window."""
    match lowered.numbers["kernel"]:
        case (int(height), int(width)):
            return math.prod((height, width))
        case other:
            raise TypeError(f"kernel is {other!r}, not two integers")


def channel_means(lowered: Lowered) -> tuple[int, int] | None:
    """Return channels and pixels of a mean of int8 over one run of pixels, else ``None``."""
    n = lowered.numbers
    match n["kept"], n["reduced"]:
        case ((int(channels), 1, _),), ((int(count), int(step), _),):
            return (channels, count) if step == channels and n["y_max"] == 127 else None
    return None
