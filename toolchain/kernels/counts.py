"""How often the loops of kernels run that neither slide over a map nor are fully connected.

Each function takes a node's numbers and returns counts in the order of the prices that
`toolchain.kernels.price_others` has for its kernels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from toolchain.kernels.loops import number, pair, rounds
from toolchain.ops.base import Number

Numbers = Mapping[str, Number]
_UNROLLED = 3  # rounds of a loop that GCC writes out
_INLINE = 64  # bytes that GCC copies by loads and stores, not by a call


def elements(n: Numbers) -> tuple[float, ...]:
    """Return the elements."""
    return (number(n, "size"),)


def rows(n: Numbers) -> tuple[float, ...]:
    """Return rows, and elements of all rows."""
    return number(n, "rows"), number(n, "rows") * number(n, "depth")


def nested(n: Numbers) -> tuple[float, ...]:
    """Return rounds of all loops but the innermost, and of all."""
    loops = n["loops"]
    assert isinstance(loops, tuple)
    return rounds(loops[:-1]), rounds(loops)


def compared(n: Numbers) -> tuple[float, ...]:
    """Return comparisons of elements side by side, and of those that lie apart."""
    inner = number(n, "inner")
    found = number(n, "outer") * inner * (number(n, "count") - 1)
    return found * (inner == 1), found * (inner > 1)


def extremes(n: Numbers) -> tuple[float, ...]:
    """Return outputs of searches for extremes, their elements, and those of three or fewer."""
    outputs, each = rounds(n["kept"]), rounds(n["reduced"])
    few = each <= _UNROLLED
    return outputs * (not few), outputs * each * (not few), outputs * each * few


def picked(n: Numbers) -> tuple[float, ...]:
    """Return elements that are picked alone, slices of several, and their `_moves`."""
    slices, inner = number(n, "outer") * number(n, "count"), number(n, "inner")
    size = inner * number(n, "itemsize") * (inner > 1)
    moves = _moves(size, aligned=size % 4 == 0)
    return slices * (inner == 1), slices * (inner > 1), *(slices * count for count in moves)


def products(n: Numbers) -> tuple[float, ...]:
    """Return outputs of matrix products, products, and those of elements that lie apart."""
    outputs = rounds(n["loops"]) * number(n, "rows") * number(n, "columns")
    found = outputs * number(n, "depth")
    return outputs, found, found * (pair(n, "b_steps")[0] > 1)


def unfolded(n: Numbers) -> tuple[float, ...]:
    """Return taps of a transposed convolution that lie in the map, and products."""
    ends = zip(
        *(pair(n, key) for key in ("in_size", "out_size", "kernel", "stride")),
        (number(n, "pad_top"), number(n, "pad_left")),
        strict=True,
    )
    reached = [_reached(*end) for end in ends]
    taps = number(n, "batch") * number(n, "out_c") * reached[0] * reached[1]
    return taps, taps * number(n, "in_c")


def cells(n: Numbers) -> tuple[float, ...]:
    """Return cells of all steps, and the products of their gates."""
    units = number(n, "units")
    found = number(n, "batch") * number(n, "steps") * units
    return found, 4.0 * found * (number(n, "inputs") + units)


def filters(n: Numbers) -> tuple[float, ...]:
    """Return units of an SVDF, its filters, their products, and those with weights of time."""
    units = number(n, "batch") * number(n, "units")
    found = units * number(n, "rank")
    return units, found, found * number(n, "inputs"), found * number(n, "memory")


def pooled(n: Numbers) -> tuple[float, ...]:
    """Return a call of a global pool, the inputs of a row, and outputs, spread over all calls."""
    channels = number(n, "channels")
    return 1, number(n, "width") * channels, channels / number(n, "rows")


def interpolated(n: Numbers) -> tuple[float, ...]:
    """Return pixels of a resized map, and their elements."""
    pixels = _pixels(n)
    return pixels, pixels * number(n, "channels")


def repeated(n: Numbers) -> tuple[float, ...]:
    """Return pixels of a map resized to the nearest, then `_moves` of all."""
    pixels, size = _pixels(n), number(n, "channels") * number(n, "itemsize")
    moves = _moves(size, aligned=size % 4 == 0) if number(n, "channels") > 1 else (0.0,) * 7
    return pixels, *(pixels * count for count in moves)


def moved(n: Numbers) -> tuple[float, ...]:
    """Return bytes that are filled, elements moved alone, runs of several, and their `_moves`."""
    size = number(n, "itemsize")
    fill = n["fill"]
    assert isinstance(fill, tuple)
    filled = size * fill[0] if fill and isinstance(fill[0], int) else 0
    alone, several, sums = 0, 0, [0.0] * 7
    for times, run, aligned in _runs(n, size):
        alone += times * (run == 1)
        if run > 1:
            several += times
            made = _moves(run * size, aligned=aligned)
            sums = [total + times * count for total, count in zip(sums, made, strict=True)]
    return filled, alone, several, *sums


def shifted(n: Numbers) -> tuple[float, ...]:
    """Return calls that move the rows of a delay line, and aligned and other bytes."""
    new, kept = number(n, "bytes"), number(n, "kept")
    odd = kept * (new % 4 > 0) + new * (kept % 4 > 0)
    return 1 + (kept > 0), new + kept - odd, odd


def _moves(size: int, *, aligned: bool) -> tuple[float, ...]:
    """Return what moves ``size`` bytes: a copy in place, or a call.

    That is copies in place, their aligned bytes, others and odd ends, calls, their aligned bytes
    and others.
    """
    split = size * aligned, size * (not aligned)
    if size <= _INLINE:
        return 1.0, *split, (size % 4).bit_count(), 0.0, 0.0, 0.0
    return 0.0, 0.0, 0.0, 0.0, 1.0, *split


def _runs(n: Numbers, size: int) -> Iterator[tuple[int, int, bool]]:
    """Yield how often a run is moved, its elements, and whether both ends are whole words."""
    copies = n["copies"]
    assert isinstance(copies, tuple)
    for copy in copies:
        match copy:
            case (_, _, int(x), int(y), int(run), tuple(loops)):
                steps = [step for loop in loops if isinstance(loop, tuple) for step in loop[1:]]
                places = (x, y, *(step for step in steps if isinstance(step, int)))
                yield rounds(loops), run, all(place * size % 4 == 0 for place in places)


def _pixels(n: Numbers) -> int:
    return number(n, "calls") * number(n, "out_w")


def _reached(inputs: int, outputs: int, taps: int, stride: int, pad: int) -> int:
    """Return the taps along an axis of all outputs that meet an input."""
    places = range(pad, pad + outputs)
    return sum(
        (place - tap) // stride < inputs
        for place in places
        for tap in range(place % stride, min(taps, place + 1), stride)
    )
