"""How often the loops of kernels run that walk output by output, and tap by tap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from toolchain.ops.base import Lowered, Number, RowTaps


@dataclass(frozen=True)
class Loops:
    """Rounds of loops, outer ones first; all of a node.

    Attributes:
        calls: of the C function.
        pixels: output pixels, of all channels each.
        outputs: sums that become an output.
        rows: kernel rows that are looked at.
        taps: kernel taps that lie in the map.
        products: inputs that are multiplied, added or compared.
    """

    calls: int
    pixels: int
    outputs: int
    rows: int
    taps: int
    products: int


def sliding(lowered: Lowered, lanes: int = 1) -> Loops:
    """Return the loops of a convolution or pool that makes a row per call.

    Args:
        lowered: the node.
        lanes: output channels that are made at once.
    """
    n, taps = lowered.numbers, lowered.taps
    assert taps is not None
    height, width = pair(n, "kernel")
    channels, depth = -(-_channels(n) // lanes), number(n, "group_c", 1)
    columns = reached(n, width)
    calls = taps.batch * taps.out_rows
    pixels = calls * number(n, "out_w")
    seen = taps.batch * inside(taps, height) * columns * channels
    return Loops(calls, pixels, pixels * channels, pixels * channels * height, seen, seen * depth)


def dense(lowered: Lowered) -> Loops:
    """Return the loops of a fully connected layer."""
    rows, depth, units = (number(lowered.numbers, key) for key in ("rows", "depth", "units"))
    outputs = rows * units
    return Loops(1, rows, outputs, outputs, outputs, outputs * depth)


def pair(numbers: Mapping[str, Number], key: str) -> tuple[int, int]:
    """Return two of a node's numbers that belong together."""
    match numbers[key]:
        case (int(first), int(second)):
            return first, second
        case other:
            raise TypeError(f"{key} is {other!r}, not two integers")


def _channels(n: Mapping[str, Number]) -> int:
    """Return the channels of the output."""
    if "multiplier" in n:
        return number(n, "in_c") * number(n, "multiplier")
    return number(n, "out_c" if "out_c" in n else "channels")


def number(n: Mapping[str, Number], key: str, default: int = 0) -> int:
    """Return an integer among a node's numbers, ``default`` if it is missing."""
    value = n.get(key, default)
    assert isinstance(value, int)
    return value


def reached(n: Mapping[str, Number], width: int) -> int:
    """Return the taps of all columns of a row that lie in the map."""
    stride, dilation = number(n, "stride_w"), number(n, "dilation_w", 1)
    starts = [x * stride - number(n, "pad_left") for x in range(number(n, "out_w"))]
    reach = range(0, width * dilation, dilation)
    return sum(0 <= start + tap < number(n, "in_w") for start in starts for tap in reach)


def inside(taps: RowTaps, height: int) -> int:
    """Return the rows of all windows that lie in the map."""
    starts = [row * taps.stride - taps.pad for row in range(taps.out_rows)]
    reach = range(0, height * taps.dilation, taps.dilation)
    return sum(0 <= start + tap < taps.in_rows for start in starts for tap in reach)


def rounds(loops: Number) -> int:
    """Return the rounds of all loops together; each is a tuple that starts with its own."""
    product = 1
    for loop in loops if isinstance(loops, tuple) else ():
        match loop:
            case (int(count), *_):
                product *= count
    return product
