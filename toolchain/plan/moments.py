"""Moments: what a node's kernel reads and writes, in the order that it promises.

A kernel that promises nothing does everything in one moment. One that works in order has a moment
per slice of its output; an elementwise one reads each element before it writes its place, and one
that works in blocks of pixels all pixels of a block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Tensor
from toolchain.ops.window import Window
from toolchain.plan.overlap import may_alias, slice_axis


@dataclass(frozen=True)
class Span:
    """Bytes ``[low, high)`` of the arena that hold a value or a part of it."""

    value: str
    low: int
    high: int

    def touches(self, other: Span) -> bool:
        """Tell whether both share a byte."""
        return self.low < other.high and other.low < self.high

    def part(self, low: int, high: int, count: int) -> Span:
        """Return slices ``[low, high)``, cut to those there are, of a value of ``count``."""
        size = (self.high - self.low) // count
        low, high = max(0, low), min(high, count)
        return Span(self.value, self.low + low * size, self.low + max(low, high) * size)


@dataclass(frozen=True)
class Moment:
    """Reads and writes that a kernel may mix in any order.

    Attributes:
        reads: bytes that must be there before.
        writes: bytes that change owner.
        keeps: bytes that must still be there after the writes.
    """

    reads: tuple[Span, ...]
    writes: tuple[Span, ...]
    keeps: tuple[Span, ...]


def moments(
    operands: Operands,
    windows: Sequence[Window],
    sources: tuple[Span, ...],
    results: tuple[Span, ...],
    *,
    in_order: bool,
    in_place: bool = False,
    blocks: Sequence[tuple[int, int]] = (),
) -> Iterator[Moment]:
    """Yield the moments of one execution.

    Args:
        operands: the node's tensors.
        windows: one per activation input.
        sources: where each activation input lies.
        results: where each output lies.
        in_order: whether the kernel works in order.
        in_place: whether the kernel reads all of a channel before it writes that channel.
        blocks: of pixels that it reads before it writes them (`Specialised.blocks`).
    """
    inputs = operands.activations
    if in_place and len(sources) == len(results) == 1 and sources[0].low == results[0].low:
        yield Moment(sources, (), ())
        yield Moment((), results, ())
        return
    ordered = in_order and all(may_alias(x, y) for x in inputs for y in operands.outputs)
    apart = not any(source.touches(result) for source in sources for result in results)
    if apart or not ordered or len(results) != 1:
        yield Moment(sources, results, sources)
        return
    if blocks:
        yield from _blocks(blocks, sources[0], results[0])
        return
    parts = list(zip(windows, inputs, sources, strict=True))
    exact = [(x, source) for window, x, source in parts if window.elementwise]
    lost = (_lost(x, source, operands.output, results[0]) for x, source in exact)
    yield Moment(tuple(source for _, source in exact), (), ())
    sliced = [part for part in parts if not part[0].elementwise]
    yield from _slices(operands.output, sliced, results[0])
    yield Moment((), (), tuple(span for span in lost if span is not None))


def _lost(x: Tensor, source: Span, y: Tensor, result: Span) -> Span | None:
    """Return bytes of ``source`` that elements of ``result`` overwrite before they are read."""
    if not source.touches(result):
        return source
    index = np.arange(x.size - 1)
    low, high = source.low + (index + 1) * x.dtype.itemsize, source.high
    written = result.low + index * y.dtype.itemsize
    wrong = np.flatnonzero((written < high) & (written + y.dtype.itemsize > low))
    if not wrong.size:
        return None
    first = int(wrong[0])
    return Span(
        source.value, int(max(written[first], low[first])), int(written[first]) + y.dtype.itemsize
    )


def _blocks(blocks: Sequence[tuple[int, int]], source: Span, result: Span) -> Iterator[Moment]:
    every = [pixels for pixels, count in blocks for _ in range(count)]
    first = 0
    for pixels in every:
        read, written = (span.part(first, first + pixels, sum(every)) for span in (source, result))
        yield Moment((read,), (written,), ())
        first += pixels


def _slices(
    y: Tensor, parts: Sequence[tuple[Window, Tensor, Span]], result: Span
) -> Iterator[Moment]:
    axis = slice_axis(y.shape)
    count = y.shape[axis]
    for row in range(count):
        reads = tuple(_window(window, x, source, axis, row) for window, x, source in parts)
        yield Moment(reads, (result.part(row, row + 1, count),), reads)


def _window(window: Window, x: Tensor, source: Span, axis: int, row: int) -> Span:
    if axis >= len(window.axes) or any(size != 1 for size in x.shape[:axis]):
        return source
    return source.part(*window.axes[axis].needs(row, row + 1), x.shape[axis])
