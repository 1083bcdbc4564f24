"""How a DSP kernel turns accumulators into outputs, proven equal to double rounding.

TFLite's requantisation rounds twice. For the accumulators that a filter can reach it is still only
a step function with at most 255 steps, so a cheaper formula is exact if it has the same steps.
Five formulas, the cheapest that is exact for all filters of a node is taken:

* ``lean``: ``(acc * M / 2**32 + C) >> S``. Zero point and rounding are folded into the bias; a
  small ``C`` tunes where the steps fall. It has 12 bits and shares a word with a bias of 20 bits.
  It serves outputs that never lie below their zero point (a fused ReLU): below zero, double
  rounding is not one line. Zero points above -128 are a limit of their own.
* ``fine``: the same for vectors: ``C`` is the half of ``2**S`` that a narrowing instruction adds,
  and the bias has ``F`` bits behind the binary point: accumulators are taken ``2**F`` times.
* ``linear``: the same with 16 bits for ``C`` and 32 for the bias.
* ``signed``: the two roundings in six instructions, for right shifts of 1 to 22.
* ``general``: as the portable kernels do it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from toolchain.ir.tensor import Array
from toolchain.kernels.base import integer
from toolchain.kernels.lines import Fields, Line, Staircase
from toolchain.numerics import Int64, requantize
from toolchain.ops.base import Number

Mask = npt.NDArray[np.bool_]

_MAX_SHIFT = 22
_USUAL = 4  # of the shifts of lines
_LEAN_BITS = 12
_LEAN_TUNING = -(1 << _LEAN_BITS >> 1), 1 << _LEAN_BITS >> 1
_LEAN_START = 1 << 31 - _LEAN_BITS
_NARROWING = 16  # the most that a vector instruction shifts, rounds and narrows
_LEAST_FRACTION = 4


class Mode(Enum):
    """The formulas, cheapest first; the value is the name that the templates know."""

    LEAN = "lean"
    FINE = "fine"
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


@dataclass(frozen=True)
class Form:
    """What the lines of a node have in common: the formula, ``S`` and ``F``."""

    mode: Mode
    shift: int
    fraction: int = 0

    def stairs(self, f: Filters, steps: Int64, reach: tuple[int, int]) -> Staircase:
        """Return the steps of a filter between its least and greatest accumulator."""
        unit = 1 << self.fraction
        low, high = (unit * end for end in reach)
        return Staircase(_levels(f) + f.zero, unit * steps, low, high, unit)

    def fields(self, start: Int64, reach: tuple[int, int]) -> Fields:
        """Return what a bias, added to those that filters ``start`` from, and a ``C`` may be."""
        if self.mode is Mode.LEAN:
            biases = 1 - _LEAN_START - int(start.min()), _LEAN_START - 1 - int(start.max())
            return Fields(biases, _LEAN_TUNING)
        low, high = (end << self.fraction for end in reach)
        half = 1 << self.shift >> 1
        biases = 1 - 2**31 - low, 2**31 - 1 - high
        return Fields(biases, (half, half + 1) if self.mode is Mode.FINE else None)


Fit = Callable[[Filters, Mask, Int64, Form], list[Line] | None]


@dataclass(frozen=True, eq=False)
class OutputStage:
    """A formula and its constants.

    Attributes:
        mode: the formula.
        shift: the common shift ``S`` of ``lean``, ``fine`` and ``linear``, else 0.
        fraction: the common ``F`` of ``fine``, else 0.
        bias: shape (N,), to be added to ``2**F`` times the filters' biases.
        multiplier: shape (N,), int32.
        extra: shape (N,): ``C`` of lines, 16 bits (of ``lean``: 12, of ``fine`` all the same),
            the right shift of ``signed``, the shift of ``general``.
        constant: shape (N,), filters that reach one output only: their products and own bias must
            be left out.
        zero: zero point of the output.
        bounds: least and greatest output.
    """

    mode: Mode
    shift: int
    fraction: int
    bias: Int64
    multiplier: Int64
    extra: Int64
    constant: npt.NDArray[np.bool_]
    zero: int
    bounds: tuple[int, int]

    @property
    def common(self) -> bool:
        """Tell whether all filters have one multiplier and one extra."""
        return all(len(np.unique(values)) == 1 for values in (self.multiplier, self.extra))

    @property
    def extras(self) -> Array:
        """Return the extras as the smallest integers that hold them all: int8 or int16."""
        return self.extra.astype(np.int8 if self.mode in (Mode.SIGNED, Mode.GENERAL) else np.int16)

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
            "low": False,
            "y_zero": self.zero,
            "y_min": self.bounds[0],
            "y_max": self.bounds[1],
        }

    @property
    def takes_zero(self) -> bool:
        """Tell whether functions that layers share take ``odd_zero``."""
        return self.mode is Mode.SIGNED or self._low

    @property
    def odd_zero(self) -> int:
        """Return what functions take that layers of several zero points share.

        Of ``signed`` twice the zero point and 1, of others the zero point that outputs stop at.
        """
        if self.mode is Mode.SIGNED:
            return 2 * self.zero + 1
        return self.zero if self._low else 0

    @property
    def shared_numbers(self) -> dict[str, Number]:
        """Return the literals of functions that take ``odd_zero``: more layers share them."""
        if self.mode is Mode.SIGNED:
            return {**self.numbers, "y_zero": 0}
        return {**self.numbers, "low": True, "y_zero": 0, "y_min": 0} if self._low else self.numbers

    @property
    def _low(self) -> bool:
        """Tell whether outputs stop at their zero point, where int8 does not."""
        return self.mode is not Mode.SIGNED and self.bounds[0] == self.zero > -128


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


def choose(
    filters: Filters, *, common: bool = False, lines: tuple[Mode, ...] = (Mode.LEAN, Mode.LINEAR)
) -> OutputStage:
    """Return the cheapest formula that is exact for all ``filters``.

    Equal filters have equal answers, which are remembered: the kernels of a node all ask.

    Args:
        filters: the requantisation of a node.
        common: prefer constants that all filters share, apart from the bias, where they have one
            scale.
        lines: which of ``lean``, ``fine`` and ``linear`` the kernel has, cheapest first.
    """
    f = filters
    arrays = (f.multiplier, f.shift, f.start, f.low, f.high)
    key = tuple(array.astype(np.int64).tobytes() for array in arrays)
    return _choose(key, f.zero, f.bounds, common, lines)


@lru_cache(1024)
def _choose(
    arrays: tuple[bytes, ...],
    zero: int,
    bounds: tuple[int, int],
    common: bool,
    lines: tuple[Mode, ...],
) -> OutputStage:
    q, right, start, low, high = (np.frombuffer(array, np.int64) for array in arrays)
    filters = Filters(q, right, start, low, high, zero, bounds)
    least, most = _output(filters, filters.low), _output(filters, filters.high)
    varies = least < most
    one = _linear(filters, varies, least, lines[-1], _one_line) if common else None
    tries = (_linear(filters, varies, least, mode, _lines) for mode in lines)
    return (
        one
        or next((found for found in tries if found is not None), None)
        or _signed(filters, varies, least)
        or _general(filters, varies, least)
    )


def _output(f: Filters, acc: Int64) -> Int64:
    return np.clip(requantize(acc, f.multiplier, f.shift) + f.zero, *f.bounds)


def _general(f: Filters, varies: Mask, value: Int64) -> OutputStage:
    bias, multiplier, shift = _rounded(f, varies, value)
    return OutputStage(Mode.GENERAL, 0, 0, bias, multiplier, shift, ~varies, f.zero, f.bounds)


def _rounded(f: Filters, varies: Mask, value: Int64) -> tuple[Int64, Int64, Int64]:
    """Return bias, multiplier and shift; a constant output is a bias alone.

    It is taken times the scale of all filters where they have but one, else times 1/4.
    """
    above = value - f.zero
    multiplier, shift = (int(v) for v in _common(f, varies) or (2**30, -1))
    bias = np.round(above * 2.0 ** (31 - shift) / multiplier).astype(np.int64)
    exact = (np.abs(bias) < 2**30) & (requantize(bias, multiplier, shift) == above)
    if np.any(~varies & ~exact):
        bias, multiplier, shift = 4 * above, 2**30, -1
    return (
        np.where(varies, 0, bias),
        np.where(varies, f.multiplier, multiplier),
        np.where(varies, f.shift, shift),
    )


def _common(f: Filters, varies: Mask) -> tuple[int, int] | None:
    """Return multiplier and shift if all filters that are not constant have the same."""
    scales = np.unique(np.stack([f.multiplier, f.shift], 1)[varies], axis=0)
    return (int(scales[0, 0]), int(scales[0, 1])) if len(scales) == 1 else None


def _signed(f: Filters, varies: Mask, value: Int64) -> OutputStage | None:
    right = np.where(varies, -f.shift, 1)
    reach = np.where(varies, np.maximum(-f.low, f.high), 0)
    if f.bounds != (-128, 127) or right.min() < 1 or right.max() > _MAX_SHIFT:
        return None
    if reach.max() >= 2**30:
        return None
    bias, multiplier, shift = _rounded(f, varies, value)
    return OutputStage(Mode.SIGNED, 0, 0, bias, multiplier, -shift, ~varies, f.zero, f.bounds)


def _linear(f: Filters, varies: Mask, value: Int64, mode: Mode, fit: Fit) -> OutputStage | None:
    right = np.where(varies, -f.shift, _MAX_SHIFT)
    if f.bounds[0] < f.zero or f.bounds[1] != 127 or (mode is Mode.FINE and f.zero > -128):
        return None
    if right.min() < 1 or right.max() > _MAX_SHIFT:
        return None
    least = int(right.min())
    forms = _fine_forms(least, _farthest(f, varies)) if mode is Mode.FINE else _forms(mode, least)
    tries = (_lined(f, varies, value, form, fit) for form in forms)
    return next((found for found in tries if found is not None), None)


def _forms(mode: Mode, right: int) -> Iterator[Form]:
    """Yield the shifts to try where the least right shift of a filter is ``right``.

    Layers of one shift share their code, so the usual one comes first. A large shift gives M all
    its bits; a small one more places for a line, where 2**32 / M is nearly an integer.
    """
    most = (right - 1) & ~1
    shifts = dict.fromkeys((min(_USUAL, most), *range(most, max(most - 5, -1), -2)))
    return (Form(mode, shift) for shift in shifts)


def _fine_forms(right: int, farthest: float) -> Iterator[Form]:
    """Yield the fractions to try where sums may lie ``farthest`` from 0.

    Shifts are multiples of 4, so that more layers share their code.
    """
    most = int(np.log2((2**31 - 1) / farthest))
    for fraction in range(most, _LEAST_FRACTION - 1, -2):
        yield Form(Mode.FINE, min(_NARROWING, (fraction + right - 1) & ~3), fraction)


def _farthest(f: Filters, varies: Mask) -> float:
    """Return how far from 0 an accumulator may lie to which the output's zero point is added."""
    level = 2.0 ** (31 - f.shift) / np.maximum(f.multiplier, 1)
    ends = np.stack([f.low + (f.zero - 1) * level, f.high + (f.zero + 1) * level])
    return float(np.abs(ends[:, varies]).max(initial=1))


def _lined(f: Filters, varies: Mask, value: Int64, form: Form, fit: Fit) -> OutputStage | None:
    drop: Int64 = np.where(varies, form.fraction - f.shift - 1 - form.shift, 0)
    slopes = (f.multiplier + (1 << drop >> 1)) >> drop
    lines = fit(f, varies, slopes, form)
    if lines is None:
        return None
    reached = (line.reach(int(v)) for line, v in zip(lines, value, strict=True))
    bias = np.where(varies, [line.bias for line in lines], np.fromiter(reached, np.int64))
    most = _LEAN_START if form.mode is Mode.LEAN else 2**31
    if np.abs(bias + np.where(varies, f.start << form.fraction, 0)).max() >= most:
        return None
    multiplier, tuning = np.array([(line.multiplier, line.tuning) for line in lines]).T
    numbers = form.mode, form.shift, form.fraction
    return OutputStage(*numbers, bias, multiplier, tuning, ~varies, f.zero, f.bounds)


def _one_line(f: Filters, varies: Mask, slopes: Int64, form: Form) -> list[Line] | None:
    """Return a line for all filters, if they have one scale: they differ in their reach only."""
    if _common(f, varies) is None:
        return None
    first = int(np.argmax(varies))
    reach = int(f.low[varies].min()), int(f.high[varies].max())
    fields = form.fields(f.start[varies], reach)
    line = form.stairs(f, _steps(f)[first], reach).fit(int(slopes[first]), form.shift, fields)
    return [line] * len(varies) if line is not None else None


def _lines(f: Filters, varies: Mask, slopes: Int64, form: Form) -> list[Line] | None:
    """Return a line for each filter."""
    lines, steps = [], _steps(f)
    for i, slope in enumerate(slopes):
        line: Line | None = Line(0, 1 << form.shift >> 1, 2**30, form.shift)
        if varies[i]:
            reach = int(f.low[i]), int(f.high[i])
            fields = form.fields(f.start[i], reach)
            line = form.stairs(f, steps[i], reach).fit(int(slope), form.shift, fields)
        if line is None:
            return None
        lines.append(line)
    return lines


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
