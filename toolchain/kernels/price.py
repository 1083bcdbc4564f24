"""What kernels take that walk output by output or element by element: a price per round of a loop.

Counted as in `toolchain.kernels.cost`; of weighted kernels for any shape, whose innermost loops the
compiler unrolls or not, within a third.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from toolchain.kernels.loops import Loops, dense, number, pair, reached, rounds, sliding
from toolchain.kernels.price_others import OTHERS, other
from toolchain.ops.base import Lowered, Number


@dataclass(frozen=True)
class Prices:
    """Instructions per round of the loops of `Loops`."""

    pixel: float = 0.0
    output: float = 0.0
    row: float = 0.0
    tap: float = 0.0
    product: float = 0.0

    def of(self, loops: Loops) -> float:
        """Return what all rounds take."""
        rows = self.output * loops.outputs + self.row * loops.rows
        products = self.tap * loops.taps + self.product * loops.products
        return self.pixel * loops.pixels + rows + products


# Instructions per element.
_ELEMENTS = {
    "affine": 8.0, "add": 17.0, "mul": 14.8, "table": 4.0, "quantize": 19.0, "dequantize": 8.0,
    "requantize": 10.0, "squared_difference": 30.0,
}  # fmt: skip

_WALKS = {
    "conv2d": Prices(output=28, row=11.3, tap=7.8, product=7.6),
    "conv2d_w4": Prices(output=32, row=21.7, tap=0.7, product=7.7),
    "conv2d_16x8": Prices(pixel=56, output=11.2, row=34, product=5.8),
    "depthwise_conv2d": Prices(output=47, product=5.9),
    "depthwise_conv2d, padded": Prices(output=47, row=6, product=12.5),
    "depthwise_conv2d_w4": Prices(output=56, row=5.8, product=13),
    "depthwise_conv2d_16x8": Prices(output=8.2, row=13.5, product=10.3),
    "fully_connected": Prices(output=25, product=6.6),
    "fully_connected_w4": Prices(output=61, product=7.3),
    "fully_connected_16x8": Prices(pixel=23, output=10.7, product=5),
}
# Pools by name (", 16": whole vectors, ", rest": and a last one) and shape: windows that may leave
# the map, those of up to 4 and up to 9 inputs, which the compiler unrolls more or less, others.
EDGE, UNROLLED, NINE, LOOP = "edge", "unrolled", "nine", "loop"
_POOLS = {
    ("average_pool2d", EDGE): Prices(7, 42.6, 0, 6.1),
    ("average_pool2d", UNROLLED): Prices(7, 0, 0, 4.2),
    ("average_pool2d", NINE): Prices(7, 0, 0, 5.6),
    ("average_pool2d", LOOP): Prices(7, 0, 0, 7.8),
    ("average_pool2d_dsp", EDGE): Prices(21, 60.2, 0, 6),
    ("average_pool2d_dsp", UNROLLED): Prices(21, 0, 0, 12.6),
    ("average_pool2d_dsp", LOOP): Prices(21, 0, 33.4, 0.4),
    ("average_pool2d_mve", EDGE): Prices(11, 62.3, 18),
    ("average_pool2d_mve", UNROLLED): Prices(11, 0, 0, 6.4),
    ("average_pool2d_mve", LOOP): Prices(11, 0, 0, 5.6),
    ("average_pool2d_mve, 16", EDGE): Prices(11, 0, 0, 25.2),
    ("average_pool2d_mve, 16", UNROLLED): Prices(11, 0, 0, 32.2),
    ("average_pool2d_mve, 16", LOOP): Prices(11, 0, 60, 2.3),
    ("max_pool2d", EDGE): Prices(5.9, 24.8, 0, 8.7),
    ("max_pool2d", UNROLLED): Prices(5.9, 0, 0, 4.1),
    ("max_pool2d", NINE): Prices(5.9, 0, 0, 6.1),
    ("max_pool2d", LOOP): Prices(5.9, 0, 0, 8.9),
    ("max_pool2d_dsp", EDGE): Prices(16.3, 6.9, 8.4, 5.8),
    ("max_pool2d_dsp", UNROLLED): Prices(16.3, 0, 0, 4.8),
    ("max_pool2d_dsp", LOOP): Prices(16.3, 14, 0, 6.7),
    ("max_pool2d_mve", EDGE): Prices(0, 40, 0, 5.8),
    ("max_pool2d_mve", UNROLLED): Prices(0, 0, 0, 5.8),
    ("max_pool2d_mve", LOOP): Prices(0, 0, 0, 7.5),
    ("max_pool2d_mve, 16", EDGE): Prices(0, 15, 2, 5.6),
    ("max_pool2d_mve, 16", UNROLLED): Prices(0, 6, 0, 4.6),
    ("max_pool2d_mve, 16", LOOP): Prices(0, 6, 0, 4.6),
    ("max_pool2d_mve, rest", EDGE): Prices(0, 0, 0, 11.6),
    ("max_pool2d_mve, rest", UNROLLED): Prices(0, 0, 0, 8.4),
    ("max_pool2d_mve, rest", LOOP): Prices(0, 0, 0, 11.4),
}  # fmt: skip
# Means: the output of a sum, of four of them or of 16, and an input.
_MEANS = {
    "mean": (23.0, 5.6),  # 6.0 in a function that layers share, 4.0 in one of its own
    "mean_dsp": (122.0, 6.9),
    "mean_mve": (8.0, 3.2),
    "mean_mve, rest": (8.0, 5.1),
    "mean_mve, 16": (64.0, 11.0),
}
_START = 50.0  # a kernel that runs once


@dataclass(frozen=True)
class PriceList:
    """What portable kernels take on a kind of core.

    Attributes:
        elements: an element, by kernel.
        walks: rounds of loops, by kernel.
        pools: rounds of a pool's loops, by kernel and shape.
        mean: a sum, and an input.
        others: see `toolchain.kernels.price_others`.
        by_channel: how much more a depthwise convolution takes that walks along rows.
        folds: how much more a fold of a fully connected layer takes.
    """

    elements: Mapping[str, float]
    walks: Mapping[str, Prices]
    pools: Mapping[tuple[str, str], Prices]
    mean: tuple[float, float]
    others: Mapping[str, tuple[float, ...]]
    by_channel: float = 1.0
    folds: float = 1.0


CORTEX_M4 = PriceList(_ELEMENTS, _WALKS, _POOLS, _MEANS["mean"], OTHERS)


def estimate(lowered: Lowered, prices: PriceList = CORTEX_M4) -> int:
    """Estimate the instructions of a portable kernel; 0 if nothing is known of it."""
    name, numbers = lowered.kernel, lowered.numbers
    if name == "depthwise_conv2d" and numbers.get("by_channel"):
        return round(prices.by_channel * _by_channel(lowered))
    if name in prices.walks:
        loops = sliding(lowered) if lowered.taps else dense(lowered)
        walk = prices.walks.get(f"{name}, padded" if numbers.get("pad_columns") else name)
        return round(_START + (walk or prices.walks[name]).of(loops))
    if (name, LOOP) in prices.pools:
        return pool(name, lowered, prices.pools)
    if name == "fully_connected_fold":
        return round(prices.folds * _folded(lowered))
    found = _known(lowered, prices)
    return other(name, lowered, prices.others) if found is None else round(found)


def _known(lowered: Lowered, prices: PriceList) -> float | None:
    """Estimate a mean, or a kernel that makes its output element by element."""
    name, numbers = lowered.kernel, lowered.numbers
    if name == "mean":
        output, each = prices.mean
        return _START + rounds(numbers["kept"]) * (output + each * rounds(numbers["reduced"]))
    if name not in prices.elements:
        return None
    size = numbers.get("size")
    return prices.elements[name] * (size if isinstance(size, int) else rounds(numbers["loops"]))


def pool(name: str, lowered: Lowered, pools: Mapping[tuple[str, str], Prices] = _POOLS) -> int:
    """Estimate a pool with the kernel of that name."""
    n, lanes = lowered.numbers, {"_dsp": 4, "_mve": 16}.get(name[-4:], 1)
    channels = number(n, "channels")
    if name.endswith("_mve") and channels % 16 == 0:
        name += ", 16"
    elif name == "average_pool2d_mve":
        lanes = 4
    elif name.endswith("_mve") and channels > 16:
        name += ", rest"
    prices = pools.get((name, _shape(n))) or pools[name, LOOP]
    return round(prices.of(sliding(lowered, lanes)))


def _shape(n: Mapping[str, Number]) -> str:
    height, width = pair(n, "kernel")
    last = (number(n, "out_w") - 1) * number(n, "stride_w") - number(n, "pad_left") + width
    if n["pad_rows"] or n["pad_left"] or last > number(n, "in_w"):
        return EDGE
    return UNROLLED if height * width <= 4 else NINE if height * width <= 9 else LOOP


def mean(name: str, sums: int, inputs: int) -> int:
    """Estimate ``sums`` means of ``inputs`` elements each with the kernel of that name."""
    lanes = 4 if name.endswith(("_dsp", "_mve")) else 1
    if name.endswith("_mve") and sums % 16 == 0:
        lanes, name = 16, f"{name}, 16"
    elif name.endswith("_mve") and sums % 4:
        name += ", rest"
    output, each = _MEANS[name]
    return round(_START + -(-sums // lanes) * (output + each * inputs))


def _folded(lowered: Lowered) -> int:
    """Estimate a call of the fully connected kernel that takes a map row by row."""
    rows, depth, units = (number(lowered.numbers, key) for key in ("rows", "depth", "units"))
    total = 4.0 * depth * bool(lowered.numbers["w_zero"])
    fours, ones = units // 4 * (30.0 + 11.0 * depth), units % 4 * (12.0 + 5.5 * depth)
    return round(20.0 + total + fours + ones + (_START + 25.0 * units) / rows)


def _by_channel(lowered: Lowered) -> int:
    """Estimate the portable depthwise kernel that walks along a row channel by channel."""
    n, taps = lowered.numbers, lowered.taps
    assert taps is not None
    height, width = pair(n, "kernel")
    out_w = number(n, "out_w")
    columns = min(number(n, "in_w"), (out_w - 1) * number(n, "stride_w") + width)
    calls = taps.batch * taps.out_rows * number(n, "in_c") * number(n, "multiplier")
    setup = 72.0 + 8.9 * height * width * bool(n["pad_rows"])
    read, product = (0.0, 1.1) if height * width <= 9 else (11.7, 1.4)
    walk = read * columns * height + product * reached(n, width) * height
    return round(calls * (setup + walk + 40.7 * out_w))
