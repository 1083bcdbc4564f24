"""Convolution on the DSP extension with little scratch memory: a window in parts.

`toolchain.kernels.conv_dsp` widens the windows of a block of pixels as a whole and multiplies them
with all filters. Here a part of the windows is widened, multiplied with a group of pairs of filters
whose sums wait in memory, and overwritten by the next part; then comes the next group. Larger parts
and groups mean less work: sums are loaded less often, inputs widened less often.

What a row has not reached yet of its own output is working memory, too, and free of charge. So the
blocks on the left of a row get large parts and groups, those on the right smaller ones.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from toolchain.kernels import cost
from toolchain.kernels.base import Helper, Isa, Specialised, integer
from toolchain.kernels.conv_dsp import BLOCK, Geometry, packed_pairs, split
from toolchain.kernels.packing import Packed
from toolchain.ops.base import Lowered, Number

_LONGEST = 16  # words of a part: steps that the inner loop has
_PAIR_BYTES, _STEP_BYTES = 8, 8  # of a pixel: two sums, a word of inputs widened
_MOST = 255


@dataclass(frozen=True)
class Shares:
    """How a block's working memory is shared out.

    Attributes:
        part: words of a part of the window.
        group: pairs of filters of a group.
        sums: where the sums lie, in words: from the start of the scratch memory, or, below 0, from
            the end of the output row.
        inputs: where the widened inputs lie.
        apart: the last pairs of a group, whose sums lie elsewhere.
        others: where these lie.
    """

    part: int
    group: int
    sums: int
    inputs: int
    apart: int = 0
    others: int = 0


class _Blocks(NamedTuple):
    work: float
    blocks: tuple[tuple[int, Shares], ...]


Run = tuple[int, int, Shares]  # blocks alike, pixels of each


@dataclass(frozen=True)
class Conv2dParts:
    """Convolution of one group with any kernel, stride and padding, row by row.

    Attributes:
        scratch: bytes of scratch memory, a multiple of 4.
    """

    scratch: int
    isa: Isa = Isa.DSP

    @property
    def name(self) -> str:
        """See `Kernel.name`."""
        return f"conv2d_parts{self.scratch}_dsp"

    def supports(self, lowered: Lowered) -> bool:
        """See `Kernel.supports`; windows that fit the memory as a whole are left to others."""
        n = lowered.numbers
        if lowered.kernel != "conv2d" or packed_pairs(lowered) is None:
            return False
        if integer(n, "out_c") % 4 or integer(n, "out_w") < 2:
            return False
        geometry = Geometry.of(n)
        together = geometry.segments == geometry.kernel[0] and not geometry.loose
        whole = split(geometry.out_w)[0][0] * geometry.steps * _STEP_BYTES
        return together and self.scratch < whole and bool(self.blocks(lowered))

    def specialise(self, lowered: Lowered) -> Specialised:
        """See `Kernel.specialise`."""
        packed, geometry = packed_pairs(lowered), Geometry.of(lowered.numbers)
        runs = self.blocks(lowered)
        assert packed is not None
        longest = max(shares.part for _, _, shares in runs)
        numbers: dict[str, Number] = {
            **{k: lowered.numbers[k] for k in ("in_w", "in_c", "out_w", "x_zero")},
            **{k: lowered.numbers[k] for k in ("stride_w", "pad_left")},
            "out_c": len(packed.output.bias),
            "pairs": len(packed.stage),
            "pair_words": packed.stage.shape[1],
            "words": geometry.length // 4,
            "steps": geometry.steps,
            "edges": 4 * longest if geometry.edges else 0,
            "blocks": tuple(
                (count, pixels, s.part, s.group, s.apart, s.sums, s.others, s.inputs)
                for count, pixels, s in runs
            ),
            "odd_zero": packed.output.odd_zero,
        }
        return Specialised(
            numbers,
            {"weights": packed.weights, "stage": packed.stage},
            self.scratch,
            in_order=_has_rows(lowered),
            taps=lowered.taps,
            helpers=tuple(_helpers(packed)),
            instructions=_instructions(lowered, packed, runs),
            reads=sum(count for count, _, _ in runs) * cost.calls_of(lowered.taps),
            template="conv2d_parts_dsp",
        )

    def blocks(self, lowered: Lowered) -> list[Run]:
        """Return the blocks of a row as (count, pixels, shares), nothing if one has no room."""
        out_c, geometry = integer(lowered.numbers, "out_c"), Geometry.of(lowered.numbers)
        window = geometry.steps, geometry.length // 4
        sizes = window, out_c // 2, self.scratch, out_c if _has_rows(lowered) else 0
        every = _row(geometry.out_w, *sizes)
        groups = ((key, len(list(same))) for key, same in itertools.groupby(every))
        return [
            (min(_MOST, count - start), *key)
            for key, count in groups
            for start in range(0, count, _MOST)
        ]


def _has_rows(lowered: Lowered) -> bool:
    """Tell whether the output has several rows; a single one may run over the input by columns."""
    taps = lowered.taps
    return taps is not None and taps.batch * taps.out_rows > 1


def _instructions(lowered: Lowered, packed: Packed, runs: Sequence[Run]) -> int:
    geometry, pairs = Geometry.of(lowered.numbers), len(packed.stage)
    window = geometry.steps, geometry.length // 4
    work = 100.0
    for count, pixels, shares in runs:
        filters = pairs, shares.group, shares.apart
        work += count * cost.parts(pixels, (*window, shares.part), filters, packed.output.mode)
    first, end = geometry.inside
    for outside, shares in ((first, runs[0][2]), (geometry.out_w - end, runs[-1][2])):
        segments = -(-pairs // shares.group) * geometry.segments * -(-outside // BLOCK)
        work += segments * cost.border(window[1], split=geometry.in_c % 4 > 0)
    assert lowered.taps is not None
    return cost.rows(work, lowered.taps)


@lru_cache(1024)
def _row(
    width: int, window: tuple[int, int], pairs: int, scratch: int, free_bytes: int
) -> tuple[tuple[int, Shares], ...]:
    """Return the blocks of a row, from left to right, that take the least work together.

    Args:
        width: pixels of the row.
        window: words of a window, and of a segment of it that lies side by side.
        pairs: of filters.
        scratch: bytes of scratch memory.
        free_bytes: that each pixel adds to what is not in use yet.
    """
    best: list[_Blocks | None] = [_Blocks(0.0, ())]
    for left in range(1, width + 1):
        ways: list[_Blocks] = []
        for pixels in range(2, min(left, BLOCK) + 1):
            behind = best[left - pixels]
            most = pixels * (_STEP_BYTES * _LONGEST + _PAIR_BYTES * pairs)
            free = min((left - pixels) * free_bytes, most)
            shares = best_shares(pixels, window, pairs, scratch, free)
            if behind and shares:
                filters = pairs, shares.group, shares.apart
                work = cost.parts(pixels, (*window, shares.part), filters)
                ways.append(_Blocks(behind.work + work, ((pixels, shares), *behind.blocks)))
        best.append(min(ways, key=lambda way: way.work, default=None))
    row = best[-1]
    return row.blocks if row else ()


@lru_cache(4096)
def best_shares(
    pixels: int, window: tuple[int, int], pairs: int, scratch: int, free: int
) -> Shares | None:
    """Return how a block of pixels takes the least work, ``None`` if there is no room at all.

    Args:
        pixels: 2 or 3.
        window: words of a window, and of a segment of it that lies side by side.
        pairs: of filters.
        scratch: bytes of scratch memory.
        free: bytes at the end of the output row that are not in use yet.
    """
    best: tuple[float, Shares] | None = None
    for part in range(1, min(_LONGEST, window[0]) + 1):
        for shares in _places(pixels, part, pairs, scratch, free):
            filters = pairs, shares.group, shares.apart
            work = cost.parts(pixels, (*window, part), filters)
            if best is None or work < best[0]:
                best = work, shares
    return None if best is None else best[1]


def _places(pixels: int, part: int, pairs: int, scratch: int, free: int) -> Iterator[Shares]:
    """Yield where sums and inputs of such a part may lie: sums in one place, or in both."""
    inputs, pair = part * pixels * _STEP_BYTES, pixels * _PAIR_BYTES
    for at, behind, used in ((0, inputs, 0), (-inputs // 4, 0, inputs)):
        if used > free or behind > scratch:
            continue
        near, far = (scratch - behind) // pair, (free - used) // pair
        groups = 0
        for most in (max(near, far), near + far):
            if not most or groups == -(-pairs // min(most, pairs, _MOST)):
                continue
            groups = -(-pairs // min(most, pairs, _MOST))
            group = -(-pairs // groups)
            if group <= near:
                yield Shares(part, group, behind // 4, at)
            elif group <= far:
                yield Shares(part, group, -(used + group * pair) // 4, at)
            else:
                apart = group - near
                yield Shares(part, group, behind // 4, at, apart, -(used + apart * pair) // 4)


def _helpers(packed: Packed) -> Iterator[Helper]:
    for pixels in range(2, BLOCK + 1):
        yield Helper("start_parts_dsp", {"pixels": pixels, "lean": packed.output.lean})
        yield Helper("finish_parts_dsp", {"pixels": pixels, **packed.output.shared_numbers})
