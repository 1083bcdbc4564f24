"""The schedule of a stream: what happens in which order when rows flow through its nodes.

Rule: the last node (in the stage's order) that has the rows it needs makes its next row. Before a
node, or one ahead of it, makes another row, its fresh row is moved to its ring; if the last reader
of a fresh row has just run (and that of a guest in its ring), the row is moved at once. So rows
live as short as they can, and a few counters are all the state that the generated code needs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
        guests: for positions whose rows lie on another's ring, the position of that host.

    Attributes:
        sources: per position, the positions it reads from with the rows needed by each output row.
        readers: per position, the positions that read its output.
        made: rows made so far, per position.
        kept: rows moved to the ring so far, per position.
    """

    def __init__(
        self,
        workers: Sequence[Worker],
        stored: frozenset[int],
        guests: Mapping[int, int] | None = None,
    ) -> None:
        self.workers, self.stored = workers, stored
        self.guest = {host: guest for guest, host in (guests or {}).items()}
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

    def release(self, position: int) -> int:
        """Return the last position that needs the newest row of ``position`` where it was made."""
        guest = self.guest.get(position, position)
        return max(self.last_reader(position), self.last_reader(guest))

    def released(self, position: int) -> list[int]:
        """Return the positions whose newest row may move once ``position`` has made a row."""
        near = {source for source, _ in self.sources[position]}
        near |= {host for host, guest in self.guest.items() if guest in near}
        return [source for source in sorted(near) if self.release(source) == position]

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
        for source in self.released(position):
            if self._pending(source):
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
