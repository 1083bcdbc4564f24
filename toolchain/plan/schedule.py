"""The schedule of a stream: what happens in which order when rows flow through its nodes.

Rule: the last node (in the stage's order) that has the rows it needs makes its next row. Before a
node, or one ahead of it, makes another row, its fresh row is moved to its ring; if the last reader
of a fresh row has just run, the row is moved at once. So rows live as short as they can, and a
few counters are all the state that the generated code needs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from toolchain.ir.tensor import Tensor
from toolchain.plan.rows import RowNeed, RowWork, row_count


@dataclass(frozen=True)
class Feed:
    """The caller as the first node of a stream: it makes the rows of the network's input."""

    output: Tensor

    @property
    def needs(self) -> tuple[RowNeed, ...]:
        """Return nothing: the rows come from outside."""
        return ()

    @property
    def rows(self) -> int:
        """Return the number of rows to make."""
        return row_count(self.output)


Worker = RowWork | Feed


@dataclass(frozen=True)
class Make:
    """The worker at ``position`` makes row ``row`` of its output."""

    position: int
    row: int


@dataclass(frozen=True)
class Keep:
    """Row ``row`` of what the worker at ``position`` makes moves from its slot to the ring."""

    position: int
    row: int


class Stream:
    """A stream that runs.

    Args:
        workers: feed and nodes, in order.
        stored: positions whose output has both a ring and a fresh row.

    Attributes:
        sources: per position, the positions it reads from with the rows needed by each output row.
        readers: per position, the positions that read its output.
        made: rows made so far, per position.
        kept: rows moved to the ring so far, per position.
    """

    def __init__(self, workers: Sequence[Worker], stored: frozenset[int]) -> None:
        self.workers, self.stored = workers, stored
        position = {worker.output.name: i for i, worker in enumerate(workers)}
        self.sources = tuple(
            tuple((position[n.tensor], n) for n in worker.needs if n.tensor in position)
            for worker in workers
        )
        self.readers = tuple(
            tuple(j for j, sources in enumerate(self.sources) if any(s == i for s, _ in sources))
            for i in range(len(workers))
        )
        self.made = [0] * len(workers)
        self.kept = [0] * len(workers)

    def last_reader(self, position: int) -> int:
        """Return the last position that reads what ``position`` makes, -1 for none."""
        return self.readers[position][-1] if self.readers[position] else -1

    def events(self) -> Iterator[Make | Keep]:
        """Run to the end; every event is yielded before the counters change."""
        position = len(self.workers) - 1
        while position >= 0:
            if self._pending(position):
                yield from self._keep(position)
            elif self._ready(position):
                yield from self._make(position)
                position = max(self.last_reader(position), position)
            else:
                position -= 1

    def _make(self, position: int) -> Iterator[Make | Keep]:
        yield Make(position, self.made[position])
        self.made[position] += 1
        for source in dict.fromkeys(source for source, _ in self.sources[position]):
            if self.last_reader(source) == position and self._pending(source):
                yield from self._keep(source)

    def _keep(self, position: int) -> Iterator[Keep]:
        yield Keep(position, self.kept[position])
        self.kept[position] += 1

    def _pending(self, position: int) -> bool:
        return position in self.stored and self.kept[position] < self.made[position]

    def _ready(self, position: int) -> bool:
        row = self.made[position]
        return row < self.workers[position].rows and all(
            self.available(source) >= need.high[row] for source, need in self.sources[position]
        )

    def available(self, position: int) -> int:
        """Return the rows of a worker's output that are there; a fold's come with its last call."""
        worker = self.workers[position]
        if isinstance(worker, RowWork) and worker.folds:
            return self.made[position] // worker.rows * row_count(worker.output)
        return self.made[position]
