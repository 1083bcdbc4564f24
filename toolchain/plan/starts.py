"""The streams that start at one step, longer and longer, with what each is estimated to need."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from toolchain.kernels.cost import products, streamed
from toolchain.plan.edges import Edge
from toolchain.plan.flow import best_flow
from toolchain.plan.rows import RowWork, row_bytes
from toolchain.plan.schedule import Feed, Worker
from toolchain.plan.streaming import is_guest
from toolchain.plan.strips import Strips

if TYPE_CHECKING:
    from toolchain.plan.cuts import Cuts


class Starts:
    """The streams that start at one step.

    Args:
        cuts: the network.
        first: the step.
    """

    def __init__(self, cuts: Cuts, first: int) -> None:
        self.cuts, self.first = cuts, first
        self.workers = _without_waiting(cuts.run(first))
        self.shift = sum(isinstance(worker, Feed) for worker in self.workers)
        self.flow = best_flow(self.workers)
        self.values = {v.name: v for v in cuts.values}
        self.sizes = [row_bytes(worker.output) for worker in self.workers]
        storages = zip(self.workers, self.flow.storage, strict=True)
        self.passing = {w.output.name: i for i, (w, s) in enumerate(storages) if not s.kept}
        self.enclosed: list[int] = []
        self.calls = self.dearer = 0

    def edges(self, ends: set[int]) -> Iterator[Edge]:
        """Yield the longest edges and those to ``ends``: a stream of whole rows, and strips."""
        count = len(self.workers) - self.shift
        closing: dict[int, list[int]] = {}
        for position, worker in enumerate(self.workers):
            value = self.values.get(worker.output.name)
            inner = not (isinstance(worker, RowWork) and worker.folds)
            if value is not None and inner and value.last < self.first + count:
                closing.setdefault(value.last, []).append(position)
        for end in range(self.first + 1, self.first + count + 1):
            work = self.cuts.rows[end - 1]
            assert work is not None
            self.calls += work.rows
            self.dearer += self.cuts.dearer(end - 1, work.instructions)
            self.enclosed += closing.get(end - 1, ())
            if end in ends or end == self.first + count:
                yield self._whole(end)
                yield from self._strips(end)

    def _whole(self, end: int) -> Edge:
        need, moving = self._rows(end, self.sizes, None)
        need += self._maps(end, overlapping=True)
        work = self.dearer + streamed(self.calls, 0, 0) + moving
        return Edge(self.first, end, stream=True, need=need, work=work)

    def _strips(self, end: int) -> Iterator[Edge]:
        if self.shift and 0 not in self.enclosed:
            return  # the caller's rows would have to be kept whole
        maps = self._maps(end, overlapping=False)
        for strips in self.cuts.strips(end):
            if strips.first > self.first:
                continue
            sizes = [self._width(p, strips, size) for p, size in enumerate(self.sizes)]
            need, moving = self._rows(end, sizes, strips)
            macs = sum(strips.macs[step] for step in range(self.first, end))
            work = (streamed(self.calls, 0, 0) + moving) * strips.count
            work += self.dearer + products(macs, self.cuts.isa)
            yield Edge(
                self.first, end, stream=True, need=maps + need, work=work,
                columns=strips.count, macs=macs,
            )  # fmt: skip

    def _width(self, position: int, strips: Strips, size: int) -> int:
        """Return the bytes of a row in the widest strip."""
        tensor = self.workers[position].output
        width = tensor.shape[2] if len(tensor.shape) == 4 else 1
        return size // width * strips.widths.get(tensor.name, width)

    def _rows(self, end: int, sizes: Sequence[int], strips: Strips | None) -> tuple[int, int]:
        """Return the bytes of rings, rows and scratch memory, and the work of moving rows."""
        rings = moving = 0
        fresh = [0] * len(self.workers)
        for step in range(self.first, end):
            scratch, folds = self.cuts.scratch(step, strips)
            rings += scratch * folds
            fresh[step - self.first + self.shift] += scratch * (not folds)
        passing = tuple(fresh)
        for position in self.enclosed:
            storage, size, start = self.flow.storage[position], sizes[position], position
            if not storage.separable:
                rings += storage.total * size
                continue
            if is_guest(self.flow, position, sizes, passing):
                host = storage.host
                if not self.flow.storage[host].separable:
                    continue
                start, size = self.flow.last_reader[host] + 1, sizes[host]
            else:
                rings += storage.kept * size
                rows = self.workers[position].rows if storage.kept else 0
                moving += streamed(0, rows, rows * size)
                if (over := self._over(position, sizes)) is not None:
                    fresh[position] += over
                    start += 1
            for p in range(start, self.flow.last_reader[position] + 1):
                fresh[p] += size
        return rings + max(fresh), moving

    def _over(self, position: int, sizes: Sequence[int]) -> int | None:
        """Return what an output row takes more than the dying input row over which it may run."""
        worker, size = self.workers[position], sizes[position]
        overlaps = worker.overlaps if isinstance(worker, RowWork) else {}
        dying = ((sizes[self.passing[n]], d) for n, d in overlaps.items() if n in self.passing)
        return min((max(d + row, size) - row for row, d in dying), default=None)

    def _maps(self, end: int, *, overlapping: bool) -> int:
        """Return the bytes of whole tensors alive, less what the best overlap saves."""
        inside = {v.name for v in self.cuts.inner(self.first, end)}
        alive = [
            v
            for v in self.cuts.values
            if v.made < end and v.last >= self.first and v.name not in inside
        ]
        if not overlapping:
            return sum(v.size for v in alive)
        dying = [v for v in alive if v.made < self.first and v.last < end]
        made = [v for v in alive if v.made >= self.first]
        saved = [0]
        for y in made:
            position = y.made - self.first + self.shift
            for v in dying:
                lows = self.flow.lows[position]
                if v.name in lows:
                    source = self.cuts.graph.tensors[v.name]
                    distance = max(0, self.flow.distance(source, position))
                    saved.append(v.size + y.size - max(v.size + distance, y.size))
        return sum(v.size for v in alive) - max(saved)


def _without_waiting(workers: Sequence[Worker]) -> list[Worker]:
    """Return ``workers`` up to the first that must wait until a fold among them is complete.

    Until then all that it and those behind it read is whole, so a stage of its own needs no more.
    """
    waiting: set[str] = set()
    for position, worker in enumerate(workers):
        if waiting.intersection(need.tensor for need in worker.needs):
            return list(workers[:position])
        if isinstance(worker, RowWork) and worker.folds:
            waiting.add(worker.output.name)
    return list(workers)
