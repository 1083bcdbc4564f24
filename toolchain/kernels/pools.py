"""Pools and means of int8 with channels side by side.

On the DSP extension four channels of a pixel are a word; on the vector extension sixteen are a
vector, the last of which may be short.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from toolchain.kernels import price
from toolchain.kernels.base import Isa, Specialised, integer
from toolchain.ops.base import Lowered, Number


@dataclass(frozen=True)
class AveragePool:
    """Average pools.

    Attributes:
        name: of the template.
        isa: what its C needs.
        most: inputs of a window at the most: what a sum, and the division of it, can hold.
        channels: of which the number of channels must be a multiple.
    """

    name: str
    isa: Isa
    most: int
    channels: int = 1

    def supports(self, lowered: Lowered) -> bool:
        """See `Kernel.supports`."""
        fits = lowered.kernel == "average_pool2d" and _side_by_side(lowered, self.channels)
        return fits and _window_area(lowered) <= self.most

    def specialise(self, lowered: Lowered) -> Specialised:
        """See `Kernel.specialise`."""
        return _by_rows(self.name, lowered)


@dataclass(frozen=True)
class MaxPool:
    """Greatest inputs; attributes as those of `AveragePool`."""

    name: str
    isa: Isa
    channels: int = 1

    def supports(self, lowered: Lowered) -> bool:
        """See `Kernel.supports`: outputs are not limited from above."""
        plain = lowered.kernel == "max_pool2d" and lowered.numbers["y_max"] == 127
        return plain and _side_by_side(lowered, self.channels)

    def specialise(self, lowered: Lowered) -> Specialised:
        """See `Kernel.specialise`."""
        return _by_rows(self.name, lowered)


@dataclass(frozen=True)
class Mean:
    """The mean of each channel, the last axis; attributes as those of `AveragePool`."""

    name: str
    isa: Isa
    most: int
    channels: int = 1

    def supports(self, lowered: Lowered) -> bool:
        """See `Kernel.supports`."""
        found = _channel_means(lowered) if lowered.kernel == "mean" else None
        if found is None:
            return False
        channels, count = found
        return channels % self.channels == 0 and count <= self.most

    def specialise(self, lowered: Lowered) -> Specialised:
        """See `Kernel.specialise`."""
        found = _channel_means(lowered)
        assert found is not None
        keys = ("offset", "multiplier", "shift", "y_zero", "y_min", "y_max")
        numbers: dict[str, Number] = {key: lowered.numbers[key] for key in keys}
        channels, count = found
        return Specialised(
            {"channels": channels, "count": count, **numbers},
            instructions=price.mean(self.name, channels, count),
        )


def _side_by_side(lowered: Lowered, channels: int) -> bool:
    return lowered.numbers["bits"] == 8 and integer(lowered.numbers, "channels") % channels == 0


def _by_rows(name: str, lowered: Lowered) -> Specialised:
    """Return a row kernel that makes all channels of a pixel at once."""
    taps = lowered.taps
    assert taps is not None
    return Specialised(
        lowered.numbers,
        in_order=taps.out_rows > 1,
        taps=taps,
        instructions=price.pool(name, lowered),
    )


def _window_area(lowered: Lowered) -> int:
    """Return the elements of a pool's window."""
    match lowered.numbers["kernel"]:
        case (int(height), int(width)):
            return math.prod((height, width))
        case other:
            raise TypeError(f"kernel is {other!r}, not two integers")


def _channel_means(lowered: Lowered) -> tuple[int, int] | None:
    """Return channels and pixels of a mean of int8 over one run of pixels, else ``None``."""
    n = lowered.numbers
    match n["kept"], n["reduced"]:
        case ((int(channels), 1, _),), ((int(count), int(step), _),):
            return (channels, count) if step == channels and n["y_max"] == 127 else None
    return None
