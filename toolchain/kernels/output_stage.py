"""How a DSP kernel turns accumulators into outputs, proven equal to double rounding.

TFLite's requantisation rounds twice. For the accumulators that a filter can reach it is still only
a step function with at most 255 steps, so a cheaper formula is exact if it has the same steps.
Four formulas, the cheapest that is exact for all filters of a node is taken:

* ``lean``: ``(acc * M / 2**32 + C) >> S``. Zero point and rounding are folded into the bias; a
  small ``C`` tunes where the steps fall. It has 12 bits and shares a word with a bias of 20 bits.
  It serves outputs that never lie below their zero point (a fused ReLU): below zero, double
  rounding is not one line.
* ``linear``: the same with 16 bits for ``C`` and 32 for the bias.
* ``signed``: the two roundings in six instructions, for right shifts of 1 to 22.
* ``general``: as the portable kernels do it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from toolchain.kernels.base import integer
from toolchain.numerics import Int64, requantize
from toolchain.ops.base import Number

Mask = npt.NDArray[np.bool_]

_MAX_SHIFT = 22
_TUNING = np.arange(-8192, 8192)
_LEAN_BITS = 12
_LEAN_TUNING = np.arange(-(1 << _LEAN_BITS >> 1), 1 << _LEAN_BITS >> 1)
_LEAN_START = 1 << 31 - _LEAN_BITS
_FAR = 2**15 - 8192
_NEAR = (0, *(sign * (3 << i) // 2 for i in range(9) for sign in (1, -1)))


class Mode(Enum):
    """The formulas, cheapest first; the value is the name that the templates know."""

    LEAN = "lean"
    LINEAR = "linear"
    SIGNED = "signed"
    GENERAL = "general"


@dataclass(frozen=True, eq=False)
class Filters:
    """Requantisation of a node's filters and the accumulators that they can reach.

    Attributes:
        multiplier: shape (N,), ``0 <= q < 2**31``.
        shift: shape (N,), as `toolchain.numerics.requantize` takes it.
        start: shape (N,), the bias.
        low: shape (N,), least accumulator, bias included.
        high: shape (N,), greatest accumulator.
        zero: zero point of the output.
        bounds: least and greatest output.
    """

    multiplier: Int64
    shift: Int64
    start: Int64
    low: Int64
    high: Int64
    zero: int
    bounds: tuple[int, int]


@dataclass(frozen=True, eq=False)
class OutputStage:
    """A formula and its constants.

    Attributes:
        mode: the formula.
        shift: the common shift ``S`` of ``lean`` and ``linear``, else 0.
        bias: shape (N,), to be added to the filters' biases.
        multiplier: shape (N,), int32.
        extra: shape (N,), int16: ``C`` of ``linear`` (of ``lean``: 12 bits), the right shift of
            ``signed``, the shift of ``general``.
        constant: shape (N,), filters that reach one output only: their products and own bias must
            be left out.
        zero: zero point of the output.
        bounds: least and greatest output.
    """

    mode: Mode
    shift: int
    bias: Int64
    multiplier: Int64
    extra: Int64
    constant: npt.NDArray[np.bool_]
    zero: int
    bounds: tuple[int, int]

    @property
    def lean(self) -> bool:
        """Tell whether an extra shares a word with its bias."""
        return self.mode is Mode.LEAN

    def shared(self, start: Int64) -> Int64:
        """Return the words of ``lean``: 20 bits of bias above 12 bits of ``C``."""
        return (start << _LEAN_BITS) | (self.extra & (1 << _LEAN_BITS) - 1)

    @property
    def numbers(self) -> dict[str, Number]:
        """Return the literals of the templates' output stage."""
        return {
            "mode": self.mode.value,
            "shift": self.shift,
            "y_zero": self.zero,
            "y_min": self.bounds[0],
            "y_max": self.bounds[1],
        }

    @property
    def odd_zero(self) -> int:
        """Return what functions of ``signed`` take as a parameter: twice the zero point and 1."""
        return 2 * self.zero + 1 if self.mode is Mode.SIGNED else 0

    @property
    def shared_numbers(self) -> dict[str, Number]:
        """Return the literals of functions that take ``odd_zero``: more layers share them."""
        zero = 0 if self.mode is Mode.SIGNED else self.zero
        return {**self.numbers, "y_zero": zero}


def filters_of(
    numbers: Mapping[str, Number],
    multiplier: Int64,
    shift: Int64,
    reach: tuple[Int64, Int64, Int64],
) -> Filters:
    """Collect a weighted node's requantisation; scalars are repeated for all filters.

    Args:
        numbers: the node's output range and zero point.
        multiplier: scalar or shape (N,).
        shift: scalar or shape (N,).
        reach: bias, least and greatest accumulator, each of shape (N,).
    """
    start, low, high = reach
    zero, least, greatest = (integer(numbers, key) for key in ("y_zero", "y_min", "y_max"))
    q = np.broadcast_to(multiplier.astype(np.int64), low.shape)
    s = np.broadcast_to(shift.astype(np.int64), low.shape)
    return Filters(q, s, start, low, high, zero, (least, greatest))


def choose(filters: Filters) -> OutputStage:
    """Return the cheapest formula that is exact for all ``filters``.

    Equal filters have equal answers, which are remembered: the kernels of a node all ask.
    """
    f = filters
    arrays = (f.multiplier, f.shift, f.start, f.low, f.high)
    return _choose(tuple(array.astype(np.int64).tobytes() for array in arrays), f.zero, f.bounds)


@lru_cache(1024)
def _choose(arrays: tuple[bytes, ...], zero: int, bounds: tuple[int, int]) -> OutputStage:
    q, right, start, low, high = (np.frombuffer(array, np.int64) for array in arrays)
    filters = Filters(q, right, start, low, high, zero, bounds)
    least, most = _output(filters, filters.low), _output(filters, filters.high)
    varies = least < most
    return (
        _linear(filters, varies, least, Mode.LEAN)
        or _linear(filters, varies, least, Mode.LINEAR)
        or _signed(filters, varies, least)
        or _general(filters, varies, least)
    )


def _output(f: Filters, acc: Int64) -> Int64:
    return np.clip(requantize(acc, f.multiplier, f.shift) + f.zero, *f.bounds)


def _general(f: Filters, varies: Mask, value: Int64) -> OutputStage:
    bias, multiplier = _rounded(f, varies, value)
    extra = np.where(varies, f.shift, -1)
    return OutputStage(Mode.GENERAL, 0, bias, multiplier, extra, ~varies, f.zero, f.bounds)


def _rounded(f: Filters, varies: Mask, value: Int64) -> tuple[Int64, Int64]:
    """Return bias and multiplier; with a right shift of 1 a constant output is a bias alone."""
    return np.where(varies, 0, 4 * (value - f.zero)), np.where(varies, f.multiplier, 2**30)


def _signed(f: Filters, varies: Mask, value: Int64) -> OutputStage | None:
    shift = np.where(varies, -f.shift, 1)
    reach = np.where(varies, np.maximum(-f.low, f.high), 0)
    if f.bounds != (-128, 127) or shift.min() < 1 or shift.max() > _MAX_SHIFT:
        return None
    if reach.max() >= 2**30:
        return None
    bias, multiplier = _rounded(f, varies, value)
    return OutputStage(Mode.SIGNED, 0, bias, multiplier, shift, ~varies, f.zero, f.bounds)


def _linear(f: Filters, varies: Mask, value: Int64, mode: Mode) -> OutputStage | None:
    right = np.where(varies, -f.shift, _MAX_SHIFT)
    if f.bounds[0] < f.zero or f.bounds != (-128, 127) or right.min() < 1:
        return None
    if right.max() > _MAX_SHIFT:
        return None
    # An even shift lets layers share their code more often and costs at most a bit of M.
    common = int(right.min() - 1) & ~1
    drop = right - 1 - common
    multiplier = np.where(varies, (f.multiplier + (1 << drop >> 1)) >> drop, 2**30)
    bias, tuning = value << common << 2, np.zeros_like(f.low)
    steps = _steps(f)
    for channel in np.flatnonzero(varies):
        around = (int(multiplier[channel]) + change for change in _NEAR)
        near = (m for m in around if 0 < m < 2**31)
        tries = ((m, _tune(f, int(channel), steps[channel], m, common, mode)) for m in near)
        tuned = next(((m, constants) for m, constants in tries if constants), None)
        if tuned is None:
            return None
        multiplier[channel], (bias[channel], tuning[channel]) = tuned
    if mode is Mode.LEAN and np.abs(bias + np.where(varies, f.start, 0)).max() >= _LEAN_START:
        return None
    return OutputStage(mode, common, bias, multiplier, tuning, ~varies, f.zero, f.bounds)


def _levels(f: Filters) -> Int64:
    """Return the outputs above the least one, less the zero point."""
    return np.arange(f.bounds[0] + 1, f.bounds[1] + 1, dtype=np.int64) - f.zero


def _steps(f: Filters) -> Int64:
    """Return for each filter (row) the least accumulator that reaches each level (column).

    ``round(acc * q / 2**31) >= u * 2**s - 2**(s - 1)``, solved for ``acc``; all levels are above
    the zero point, where both roundings go the same way.
    """
    level = _levels(f)[None, :]
    right = np.clip(-f.shift, 1, _MAX_SHIFT)[:, None]
    bound = (((level << right) - (1 << right >> 1)) << 31) - 2**30
    return -(-bound // np.maximum(f.multiplier, 1)[:, None])


def _tune(
    f: Filters, channel: int, steps: Int64, multiplier: int, shift: int, mode: Mode
) -> tuple[int, int] | None:
    """Return a bias and a ``C`` that put the steps of a line where they belong."""
    low, high = reach = int(f.low[channel]), int(f.high[channel])
    ratio = 2.0**32 / multiplier
    place = (_levels(f) + f.zero) * 2.0**shift * ratio - steps
    above = place[steps <= high]
    below = place[steps > low] + 1
    least = above.max() if above.size else below.min() - 1
    most = below.min() if below.size else least + 1
    if least >= most:
        return None
    middle = (least + most) / 2
    tunings = _LEAN_TUNING
    if mode is Mode.LINEAR:
        # Of all C, those near this one centre the accumulators around 0, however large the bias.
        centre = np.clip(round((middle + (low + high) / 2) / ratio), -_FAR, _FAR)
        tunings = centre + _TUNING
    offset = np.round(middle - tunings * ratio)
    miss = np.abs(middle - tunings * ratio - offset)
    if mode is Mode.LEAN:
        miss[np.abs(f.start[channel] + offset) >= _LEAN_START] = np.inf
    best = int(np.argmin(miss))
    bias, tuning = int(offset[best]), int(tunings[best])
    return (bias, tuning) if _proved(steps, reach, (bias, tuning, multiplier, shift), f) else None


def _proved(
    steps: Int64, reach: tuple[int, int], constants: tuple[int, int, int, int], f: Filters
) -> bool:
    """Tell whether a line has exactly these steps for all accumulators within ``reach``."""
    low, high = reach
    bias, tuning, multiplier, shift = constants
    if max(abs(low + bias), abs(high + bias)) >= 2**31:
        return False
    level = _levels(f) + f.zero

    def linear(acc: Int64) -> Int64:
        return ((((acc + bias) * multiplier) >> 32) + tuning) >> shift

    reached = (steps > high) | (linear(np.maximum(steps, low)) >= level)
    not_before = (steps <= low) | (linear(np.minimum(steps - 1, high)) < level)
    return bool(np.all(reached & not_before))
