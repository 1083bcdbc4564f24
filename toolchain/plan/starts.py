"""The streams that start at one step, longer and longer, with what each is estimated to need."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from toolchain.ir.tensor import Tensor
from toolchain.kernels.cost import products, streamed
from toolchain.plan.course import Course
from toolchain.plan.edges import Edge
from toolchain.plan.flow import best_flow
from toolchain.plan.rows import RowWork, row_bytes
from toolchain.plan.schedule import Feed, Worker
from toolchain.plan.streaming import is_guest
from toolchain.plan.strips import Strips

if TYPE_CHECKING:
    from toolchain.plan.cuts import Cuts


@dataclass(frozen=True)
class _Rows:
    """Bytes beside whole maps.

    Attributes:
        lasting: scratch memory that lasts as long as the stream.
        rings: of all rings.
        passing: rows and scratch memory that a position needs while it makes a row.
        moving: the work of moving rows to rings.
    """

    lasting: int
    rings: int
    passing: list[int]
    moving: int

    @property
    def need(self) -> int:
        """Return what is needed if all of it lies side by side."""
        return self.lasting + self.rings + max(self.passing)


class Starts:
    """The streams that start at one step.

    Args:
        cuts: the network.
        first: the step.
        block: rows that nodes make in a step, as far as they can.
    """

    def __init__(self, cuts: Cuts, first: int, block: int = 1) -> None:
        self.cuts, self.first, self.block = cuts, first, block
        self.workers = _without_waiting(cuts.run(first, block))
        self.shift = sum(isinstance(worker, Feed) for worker in self.workers)
        self.flow = best_flow(self.workers)
        self.values = {v.name: v for v in cuts.values}
        self.sizes = [row_bytes(worker.output) for worker in self.workers]
        storages = zip(self.workers, self.flow.storage, strict=True)
        self.passing = {w.output.name: i for i, (w, s) in enumerate(storages) if not s.kept}
        self.course = Course(self.flow)
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
        for position in range(self.shift):
            self.course.grow(position)
        for end in range(self.first + 1, self.first + count + 1):
            work = self.workers[end - 1 - self.first + self.shift]
            assert isinstance(work, RowWork)
            self.calls += work.turns
            self.dearer += self.cuts.dearer(end - 1, work.cost(self.cuts.isa))
            self.enclosed += closing.get(end - 1, ())
            self._proceed(end, closing.get(end - 1, ()))
            if end in ends or end == self.first + count:
                yield self._whole(end)
                if self.block == 1:
                    yield from self._strips(end)

    def _whole(self, end: int) -> Edge:
        rows = self._rows(end, self.sizes, None)
        need = rows.need + self._maps(end, overlapping=True)
        least = rows.lasting + self.course.peak(rows.passing[: end - self.first + self.shift])
        least += sum(v.size for v in self.cuts.values if v.made < self.first <= v.last)
        work = self.dearer + streamed(self.calls, 0, 0) + rows.moving
        blocks = tuple(w.block for w in self.workers[self.shift : end - self.first + self.shift])
        return Edge(
            self.first, end, stream=True, need=need, least=min(need, least), work=work,
            blocks=blocks if max(blocks) > 1 else (),
        )  # fmt: skip

    def _proceed(self, end: int, enclosed: Sequence[int]) -> None:
        """Let the course go on to ``end``: another map, maps that become rings or shrink."""
        self.course.grow(end - 1 - self.first + self.shift)
        passing, steps = self._scratch(end, None)[1], self._steps(self.sizes)
        for position in enclosed:
            storage = self.flow.storage[position]
            rows = storage.kept if storage.separable else storage.total
            if storage.separable and is_guest(self.flow, position, steps, passing):
                rows = 0
            self.course.enclose(position, rows)
        for value in self.cuts.values:
            if value.last == end - 1 and value.made < self.first:
                self.course.drain(self._views(value.name))

    def _strips(self, end: int) -> Iterator[Edge]:
        if self.shift and 0 not in self.enclosed:
            return  # the caller's rows would have to be kept whole
        maps = self._maps(end, overlapping=False)
        for strips in self.cuts.strips(end):
            if strips.first > self.first:
                continue
            sizes = [self._width(p, strips, size) for p, size in enumerate(self.sizes)]
            rows = self._rows(end, sizes, strips)
            need = maps + rows.need
            macs = sum(strips.macs[step] for step in range(self.first, end))
            work = (streamed(self.calls, 0, 0) + rows.moving) * strips.count
            work += self.dearer + products(macs, self.cuts.isa)
            yield Edge(
                self.first, end, stream=True, need=need, least=need, work=work,
                columns=strips.count, macs=macs,
            )  # fmt: skip

    def _width(self, position: int, strips: Strips, size: int) -> int:
        """Return the bytes of a row in the widest strip."""
        tensor = self.workers[position].output
        width = tensor.shape[2] if len(tensor.shape) == 4 else 1
        return size // width * strips.widths.get(tensor.name, width)

    def _scratch(self, end: int, strips: Strips | None) -> tuple[int, list[int]]:
        """Return scratch memory: bytes that last, and those that each position needs for a row."""
        lasting, passing = 0, [0] * len(self.workers)
        for step in range(self.first, end):
            scratch, folds = self._scratch_of(step, strips)
            lasting += scratch * folds
            passing[step - self.first + self.shift] += scratch * (not folds)
        return lasting, passing

    def _rows(self, end: int, sizes: Sequence[int], strips: Strips | None) -> _Rows:
        rings = moving = 0
        lasting, fresh = self._scratch(end, strips)
        passing = tuple(fresh)
        steps = self._steps(sizes)
        for position in self.enclosed:
            storage, size, start = self.flow.storage[position], sizes[position], position
            if not storage.separable:
                rings += storage.total * size
                continue
            if is_guest(self.flow, position, steps, passing):
                host = storage.host
                if not self.flow.storage[host].separable:
                    continue
                start, size = self.flow.last_reader[host] + 1, sizes[host]
            else:
                rings += storage.kept * size
                rows = self.workers[position].rows if storage.kept else 0
                moving += streamed(0, rows // self.workers[position].block, rows * size)
                size = steps[position]
                if (over := self._over(position, steps)) is not None:
                    fresh[position] += over
                    start += 1
            for p in range(start, self.flow.last_reader[position] + 1):
                fresh[p] += size
        return _Rows(lasting, rings, fresh, moving)

    def _steps(self, sizes: Sequence[int]) -> list[int]:
        """Return the bytes that each position makes in a step, by those of a row."""
        return [size * worker.block for size, worker in zip(sizes, self.workers, strict=True)]

    def _scratch_of(self, step: int, strips: Strips | None) -> tuple[int, bool]:
        """Return the scratch memory of a node, and whether it lasts as long as the stream."""
        work = self.workers[step - self.first + self.shift]
        if isinstance(work, RowWork) and work.block > 1:
            return work.special.scratch_bytes, False
        return self.cuts.scratch(step, strips)

    def _over(self, position: int, sizes: Sequence[int]) -> int | None:
        """Return what an output row takes more than the dying input row over which it may run."""
        worker, size = self.workers[position], sizes[position]
        if not isinstance(worker, RowWork):
            return None
        overlaps = worker.overlaps
        if self.cuts.recompute and worker.special.blocks:
            return None  # paths of strips keep to what all layouts reach
        passing = {n: self.passing[n] for n in overlaps if n in self.passing}
        last, block = self.flow.last_reader, worker.block
        alike = (
            n for n, i in passing.items() if last[i] == position and self.workers[i].block == block
        )
        dying = ((sizes[passing[n]], overlaps[n]) for n in alike)
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
                if views := self._views(v.name):
                    distance = max(0, *(self.flow.distance(view, position) for view in views))
                    saved.append(v.size + y.size - max(v.size + distance, y.size))
        return sum(v.size for v in alive) - max(saved)

    def _views(self, name: str) -> list[Tensor]:
        """Return the maps outside that the streams read and that lie where ``name`` does."""
        graph, root = self.cuts.graph, self.cuts.root
        return [graph.tensors[view] for view in self.flow.lows[0] if root[view] == name]


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
