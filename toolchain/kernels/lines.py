"""Lines through the steps of a requantisation: ``(((acc + bias) * M >> 32) + C) >> S``.

Accumulators may come as multiples of a unit: then a bias is a fraction of one.

A requantisation is a staircase: each output has a least accumulator. A line is exact if it reaches
every output at that accumulator and not before, as far as a filter can get. For a given ``M`` that
leaves an interval to ``bias + C * 2**32 / M``; how wide it is, is a concave function of ``1 / M``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from toolchain.numerics import Int64

_TUNING = np.arange(-8192, 8192)
_FAR = 2**15 - 8192
_NEAR = (0, *(sign * (3 << i) // 2 for i in range(9) for sign in (1, -1)))
_SPREAD = 2.0**-4  # multipliers that far from the nominal one are looked at, relative
_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class Line:
    """The constants of a line: bias, ``C``, ``M`` and ``S``."""

    bias: int
    tuning: int
    multiplier: int
    shift: int

    def __call__(self, acc: Int64) -> Int64:
        """Return the outputs, not clamped, of accumulators of any shape."""
        return ((((acc + self.bias) * self.multiplier) >> 32) + self.tuning) >> self.shift

    def reach(self, output: int) -> int:
        """Return an accumulator, the bias included, that gives ``output``."""
        return -(-(((output << self.shift) - self.tuning) << 32) // self.multiplier)


@dataclass(frozen=True)
class Fields:
    """The numbers that a bias and a ``C`` may be.

    Attributes:
        bias: least and greatest bias.
        tuning: least ``C`` and the one behind the greatest; ``None`` for 16 bits, of which those
            are taken that bring the accumulators near 0.
        near: multipliers to look at, from the one that leaves the widest interval.
    """

    bias: tuple[int, int]
    tuning: tuple[int, int] | None
    near: Sequence[int] = _NEAR


@dataclass(frozen=True, eq=False)
class Staircase:
    """What a requantisation makes of a filter's accumulators.

    Attributes:
        outputs: those above the least one, in order, shape (L,).
        steps: for each the least accumulator that gives it, shape (L,).
        low: least accumulator.
        high: greatest accumulator; at least one step lies in between.
        unit: of which all accumulators are multiples.
    """

    outputs: Int64
    steps: Int64
    low: int
    high: int
    unit: int = 1

    def fit(self, multiplier: int, shift: int, fields: Fields) -> Line | None:
        """Return an exact line of about this slope, ``None`` if none was found."""
        for candidate in self._candidates(multiplier, shift, fields.near):
            if 0 < candidate < 2**31:
                line = self._placed(candidate, shift, fields)
                if line is not None and self._proves(line):
                    return line
        return None

    def _candidates(self, multiplier: int, shift: int, near: Sequence[int]) -> Iterator[int]:
        """Yield the multiplier itself, then those about the one that leaves the widest interval."""
        yield multiplier
        ratio = 2.0**32 / multiplier
        first, last = ratio * (1 - _SPREAD), ratio * (1 + _SPREAD)
        while last - first > ratio * 2.0**-32:
            step = _GOLDEN * (last - first)
            if self._width(last - step, shift) < self._width(first + step, shift):
                first = last - step
            else:
                last = first + step
        widest = round(2.0**33 / (first + last))
        yield from (widest + change for change in near)

    def _width(self, ratio: float, shift: int) -> float:
        least, most = self._interval(ratio, shift)
        return most - least

    def _interval(self, ratio: float, shift: int) -> tuple[float, float]:
        """Return what ``bias + C * ratio`` must reach, and what it must stay below."""
        place = self.outputs * 2.0**shift * ratio - self.steps
        least = float(place[self.steps <= self.high].max())
        return least, float(place[self.steps > self.low].min()) + self.unit

    def _placed(self, multiplier: int, shift: int, fields: Fields) -> Line | None:
        """Return the line nearest to the middle of its interval."""
        ratio = 2.0**32 / multiplier
        least, most = self._interval(ratio, shift)
        if least >= most:
            return None
        middle = (least + most) / 2
        if fields.tuning is None:
            centre = np.clip(round((middle + (self.low + self.high) / 2) / ratio), -_FAR, _FAR)
            tunings = centre + _TUNING
        else:
            tunings = np.arange(*fields.tuning)
        biases = np.round(middle - tunings * ratio)
        miss = np.abs(middle - tunings * ratio - biases)
        miss[(biases < fields.bias[0]) | (biases > fields.bias[1])] = np.inf
        best = int(np.argmin(miss))
        if miss[best] > (most - least) / 2:
            return None
        return Line(int(biases[best]), int(tunings[best]), multiplier, shift)

    def _proves(self, line: Line) -> bool:
        """Tell whether a line has exactly these steps."""
        if max(abs(self.low + line.bias), abs(self.high + line.bias)) >= 2**31:
            return False
        at = np.maximum(self.steps, self.low)
        before = np.minimum(self.steps - self.unit, self.high)
        reached = (self.steps > self.high) | (line(at) >= self.outputs)
        not_before = (self.steps <= self.low) | (line(before) < self.outputs)
        return bool(np.all(reached & not_before))
