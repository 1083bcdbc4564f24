"""How many instructions kernels take: estimates from their loops, for choosing among them.

Constants are counts of GCC 12's code at -O2 on an emulated Cortex-M4, loop by loop; tests hold the
estimates against the emulator (`ERROR`; those of other families within a sixth). Kernels that walk
over outputs or elements have a price per round of their loops (`toolchain.kernels.price`), and
another on Armv6-M (`toolchain.kernels.price_armv6m`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from toolchain.kernels.base import Isa
from toolchain.kernels.output_stage import Mode
from toolchain.ops.base import RowTaps

# A multiply-accumulate where no loop has been counted.
_PRODUCT = {Isa.PORTABLE: 10, Isa.DSP: 2, Isa.MVE: 1}
ERROR = 0.1  # greatest relative error, for layers of more than about a thousand instructions

_PAIR = {
    Mode.LEAN: {1: 40.0, 2: 53.0, 3: 54.0},
    Mode.LINEAR: {1: 38.0, 2: 48.0, 3: 55.0},
    Mode.SIGNED: {1: 45.0, 2: 64.5, 3: 76.0},
    Mode.GENERAL: {1: 90.0, 2: 150.0, 3: 230.0},
}
_STEP = {1: 14.0, 2: 12.5, 3: 17.25}
_WIDEN = {1: 7.0, 2: 13.0, 3: 10.5}  # 4 inputs of a block brought to 16 bits
_BLOCK = 34.0  # calls of a block
_PART = {2: (8.0, 12.0), 3: (11.0, 17.0)}  # the same of `parts`: brought to 16 bits, multiplied
_OUTPUT = {Mode.LEAN: 3.0, Mode.LINEAR: 3.0, Mode.SIGNED: 8.0, Mode.GENERAL: 27.0}
_UNROLLED = 6  # outputs of a row that the rolling depthwise kernel makes without a loop
EIGHTS = 16  # portable kernels take eight filters at a time where there are so many
_GATHER = {1: (55.0, 6.0), 4: (22.0, 4.0)}  # a row of pairs by channels at once: call and column
_GROUP = 4  # outputs that the depthwise kernel on planes makes at a time
_VECTOR = {Mode.LEAN: 67.0, Mode.LINEAR: 57.0, Mode.SIGNED: 73.0, Mode.GENERAL: 150.0}


@dataclass(frozen=True)
class Matrix:
    """What products with a kind of packed weights take, by pixels of a block.

    Attributes:
        step: 4 inputs of a block with a pair of filters.
        more: a block with a pair of filters, beside the products, more than `_PAIR` says.
        total: 4 inputs of a pixel that are summed up, for the zero point of the weights.
    """

    step: Mapping[int, float]
    more: Mapping[int, float]
    total: float = 0.0


PAIRS = Matrix(_STEP, {1: 0.0, 2: 0.0, 3: -10.0})
NIBBLES = Matrix({1: 16.0, 2: 19.2, 3: 19.4}, {1: 7.0, 2: 7.0, 3: 5.0})
APART = Matrix({1: 15.0, 2: 22.5, 3: 20.2}, {1: 22.0, 2: 22.0, 3: 22.0})
APART_ZERO = Matrix(APART.step, APART.more, total=17.0)


@dataclass(frozen=True)
class Blocks:
    """A matrix product.

    Attributes:
        runs: blocks as (pixels, count).
        pairs: pairs of filters.
        steps: words of 4 inputs that a pixel has.
        mode: formula of the output stage.
        matrix: what products take.
    """

    runs: tuple[tuple[int, int], ...]
    pairs: int
    steps: int
    mode: Mode
    matrix: Matrix = PAIRS

    @property
    def products(self) -> float:
        """Return the instructions of all products and outputs."""
        prices = self.matrix
        return sum(
            count
            * (
                self.pairs * (_PAIR[self.mode][p] + prices.more[p] + prices.step[p] * self.steps)
                + prices.total * p * self.steps
            )
            for p, count in self.runs
        )


def products(macs: int, isa: Isa) -> int:
    """Estimate kernels of which only the multiply-accumulates are known."""
    return macs * _PRODUCT[isa]


def streamed(calls: int, moves: int, moved_bytes: int) -> int:
    """Estimate what a stream takes beside its kernels.

    Args:
        calls: rows that are made.
        moves: rows that are moved to a ring.
        moved_bytes: of all these together.
    """
    return round(60.0 * calls + 45.0 * moves + moved_bytes * 0.28)


def pointwise(blocks: Blocks) -> int:
    """Estimate a 1x1 convolution whose pixels are one long row."""
    widened = sum(count * (_BLOCK + _WIDEN[p] * blocks.steps) for p, count in blocks.runs)
    return round(70 + blocks.products + widened)


def windows(blocks: Blocks, taps: RowTaps, segments: int, length: int, *, edges: bool) -> int:
    """Estimate a convolution row by row.

    Args:
        blocks: of one row.
        taps: calls and rows.
        segments: pieces of a window that lie side by side in the input.
        length: bytes of a segment.
        edges: whether windows may leave the map.
    """
    gathered = sum(
        count * segments * (21.0 * pixels + _WIDEN[pixels] * (length // 4))
        for pixels, count in blocks.runs
    )
    border = 51.0 * segments if edges else 0.0
    loose = segments * (length % 4) / 4 * 8 * sum(p * count for p, count in blocks.runs)
    return round(calls_of(taps) * (blocks.products + gathered + border + loose) + _driver(taps))


def parts(
    pixels: int, window: tuple[int, int, int], filters: tuple[int, int, int], mode: Mode = Mode.LEAN
) -> float:
    """Estimate a block of pixels whose windows are treated in parts.

    Args:
        pixels: 2 or 3.
        window: words of a pixel, of a segment that lies side by side, and of a part.
        filters: pairs of filters, of a group, and of those in it whose sums lie apart.
        mode: formula of the output stage.
    """
    (steps, words, part), (pairs, group, apart) = window, filters
    groups, count = -(-pairs // group), -(-steps // part)
    segments = steps // words
    whole = segments == 1 or words % part == 0
    pieces = 0 if whole else segments + (count if part % words else 0)
    again = (40.0 + 25.0 * count) * (apart > 0)
    widened = groups * (55.0 + 65.0 * count + 60.0 * pieces + _PART[pixels][0] * steps + again)
    return 35.0 + widened + pairs * (_PAIR[mode][pixels] + 7.0 * count + _PART[pixels][1] * steps)


def border(words: int, *, split: bool) -> float:
    """Estimate what a segment of ``words`` takes more beside the map's left or right end.

    Args:
        words: of the segment.
        split: whether the end of a row may lie within a word.
    """
    return 60.0 + 2.0 * words + 200.0 * split


def vectors(
    depth: int, units: int, rows: int, mode: Mode, *, nibbles: bool = False, common: bool = False
) -> int:
    """Estimate vectors of ``depth`` inputs times ``units`` filters.

    Args:
        depth: inputs.
        units: filters.
        rows: vectors.
        mode: formula of the output stage.
        nibbles: whether weights have 4 bits.
        common: whether filters have one scale.
    """
    words, rest = depth // 4, depth % 4 > 0
    fours, left = units // 4, units % 4
    finish = _VECTOR[mode] - 12.0 * common + 7.0 * nibbles
    full = fours * (finish + (20.5 if nibbles else 16.5) * words + 24.0 * rest)
    last = (left > 0) * (left + 1) // 2 * (50.0 + 40.0 * nibbles + 14.0 * words + 12.0 * rest)
    return round(25 + rows * (full + last))


def folded_vectors(depth: int, units: int, rows: int) -> int:
    """Estimate a call of `vectors` that comes in ``rows`` parts of ``depth`` inputs."""
    words, rest, pairs = depth // 4, depth % 4 > 0, (units + 1) // 2
    fours = pairs // 2 * (59.0 + 16.3 * words + 24.0 * rest)
    last = pairs % 2 * (28.0 + 14.0 * words + 12.0 * rest)
    finish = 50.0 + 30.0 * units
    return round(30.0 + fours + last + finish / rows)


def rows_apart(depth: int, pairs: int, rows: int) -> int:
    """Estimate ``rows`` of ``depth`` inputs, widened in scratch memory, times pairs of filters."""
    return round(25 + rows * (depth / 4 * 17.7 + pairs * (45.8 + 15.0 * depth / 4)))


def rolling(
    kernel: tuple[int, int], stride: int, sizes: tuple[int, int, int], taps: RowTaps, mode: Mode
) -> int:
    """Estimate a small depthwise kernel straight from the rows.

    Args:
        kernel: (height, width).
        stride: along a row.
        sizes: columns of an input row, columns of an output row, channels.
        taps: calls and rows.
        mode: formula of the output stage.
    """
    (height, width), (in_w, out_w, channels) = kernel, sizes
    paired, alone = int(height > 1), height % 2
    read = min(in_w, (out_w - 1) * stride + width)
    unfinished = (width - 1) // stride + 1
    loop = 27.0 + 4.8 * (out_w // unfinished) if out_w > _UNROLLED else 0.0
    setup = 27.0 + 3.1 * (width * paired + width // 2 * alone)
    products = read * (1.9 * paired + 0.9 * alone) + 1.5 * out_w * width * (paired + alone)
    finish = out_w * (1.25 * _OUTPUT[mode] + 0.6)
    return round(calls_of(taps) * channels * (setup + loop + products + finish))


def planes(
    kernel: tuple[int, int],
    row: tuple[int, int],
    channels: int,
    taps: RowTaps,
    mode: Mode,
) -> int:
    """Estimate a depthwise kernel on gathered planes.

    Args:
        kernel: (height, width).
        row: pairs that are gathered per input row, columns of an output row.
        channels: of the output.
        taps: calls and rows.
        mode: formula of the output stage.
    """
    (height, width), (pairs, out_w) = kernel, row
    groups = _groups(out_w)
    gather = taps.count * (14.0 + 9.0 * pairs)
    setup = 42.0 + 1.6 * height * width
    product = groups * height * (3.1 + 2.0 * width) + 1.1 * out_w * height * ((width + 1) // 2)
    finish = 6.6 * groups + out_w * (_OUTPUT[mode] - 2.0)
    each = gather + setup + taps.rows * (16.0 + product + finish)
    return round(calls_of(taps) * channels * each)


def row_pairs(
    kernel: tuple[int, int],
    stride: int,
    sizes: tuple[int, int, int],
    taps: RowTaps,
    mode: Mode,
    *,
    lanes: int,
) -> int:
    """Estimate a depthwise kernel on pairs of rows.

    Args:
        kernel: (height, width).
        stride: along a row.
        sizes: columns that are gathered per input row, columns of an output row, channels of the
            output.
        taps: calls and rows.
        mode: formula of the output stage.
        lanes: channels that are gathered together.
    """
    (height, width), (in_w, out_w, channels) = kernel, sizes
    paired, alone, span = height // 2, height % 2, (out_w - 1) * stride + width
    groups = _groups(out_w)
    call, column = _GATHER[lanes]
    gather = paired * (call + column * in_w) + alone * (1.5 * call + column / 2 * in_w)
    read = 2.0 * width + 3.0 * min(stride, width)
    loads = groups * read * (paired + 0.6 * alone) + 6.0 * groups * paired * (paired > 2)
    product = 1.16 * out_w * (paired * width + alone * ((width + 1) // 2))
    finish = 10.0 * groups + out_w * _OUTPUT[mode]
    each = 2.9 * height * width + gather + loads + product + finish
    fill = 3.0 * lanes * span * (paired + alone / 2)
    return round(calls_of(taps) * (fill + channels * each))


def _groups(outputs: int) -> int:
    """Return in how many groups a depthwise kernel makes the outputs of a row: fours, 2 and 1."""
    return outputs // _GROUP + (outputs % _GROUP).bit_count() if outputs >= _GROUP else 1


def columns(steps: int, channels: int, taps: RowTaps, mode: Mode) -> int:
    """Estimate a depthwise kernel over time."""
    four = 55.0 + 4 * (_OUTPUT[mode] - 3) + 28.0 * (steps // 2) + 12.0 * (steps % 2)
    return round(calls_of(taps) * (channels / 4 * four + 17.0 * steps))


@dataclass(frozen=True)
class Runs:
    """How much more products and all else of `runs` take than on a Cortex-M4."""

    product: float = 1.0
    rest: float = 1.0


RUNS, RUNS_ARMV6M, VECTORS_ARMV6M = Runs(), Runs(1.37, 1.9), Runs(1.33, 2.84)


def runs(pixels: int, filters: int, depth: int, segments: int, prices: Runs) -> int:
    """Estimate pixels, or vectors, times filters in portable C.

    Args:
        pixels: pixels.
        filters: filters.
        depth: inputs of a pixel.
        segments: pieces in which they lie.
        prices: of the core.
    """
    eights = filters // 8 if filters >= EIGHTS else 0
    fours, ones = divmod(filters - 8 * eights, 4)
    rest = 30.0 + 46.0 * segments + 3.0 * filters
    rest += eights * (125.0 + 27.0 * segments) + fours * (62.0 + 35.0 * segments)
    rest += ones * (42.0 + 11.0 * segments)
    product = depth * (3.0 * (eights > 0) + 20.0 * eights + 10.9 * fours + 5.1 * ones)
    return round(pixels * (prices.rest * rest + prices.product * product))


def calls_of(taps: RowTaps | None) -> int:
    """Return how often a row kernel is called for the whole layer."""
    assert taps is not None
    return taps.batch * taps.out_rows // taps.rows


def rows(each: float, taps: RowTaps) -> int:
    """Return what a layer takes whose calls take ``each``."""
    return round(calls_of(taps) * each + _driver(taps))


def _driver(taps: RowTaps) -> float:
    """Return what the layer's loop over the rows takes."""
    return calls_of(taps) * (20.0 + 7.0 * taps.count)
