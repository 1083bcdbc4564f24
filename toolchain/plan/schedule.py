"""The schedule of a stream: what happens in which order when rows flow through its nodes.

Rule: the last node (in the stage's order) that has the rows it needs makes its next row, or its
next block of rows, with which everything that is said of a row goes on as one. Before a
node, or one ahead of it, makes another row, its fresh row is moved to its ring; if the last reader
of a fresh row has just run (and that of a guest in its ring), the row is moved at once. So rows
live as short as they can, and a few counters are all the state that the generated code needs.
A node beside a longer branch may be held back until its rows are due (`paced`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

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

    @property
    def block(self) -> int:
        """Return the rows that come at once."""
        return 1


Worker = RowWork | Feed


@dataclass(frozen=True)
class Make:
    """The worker at ``position`` makes its output from row ``row`` on: one row, or a block."""

    position: int
    row: int


@dataclass(frozen=True)
class Keep:
    """What the worker at ``position`` made with row ``row`` moves from its slot to the ring."""

    position: int
    row: int


class Stream:
    """A stream that runs.

    Args:
        workers: feed and nodes, in order.
        stored: positions whose output has both a ring and a fresh row.
        guests: for positions whose rows lie on another's ring, the position of that host.
        paces: for positions that wait for another reader of what they read (`paced`), that one.

    Attributes:
        sources: per position, the positions it reads from with the rows needed by each output row.
        gates: per position, the positions it waits for with the rows that each of its own awaits.
        readers: per position, the positions that read its output.
        blocks: rows made at once, per position.
        made: rows made so far, per position.
        kept: rows moved to the ring so far, per position.
    """

    def __init__(
        self,
        workers: Sequence[Worker],
        stored: frozenset[int],
        guests: Mapping[int, int] | None = None,
        paces: Mapping[int, int] | None = None,
    ) -> None:
        self.workers, self.stored = workers, stored
        self.guest = {host: guest for guest, host in (guests or {}).items()}
        position = {worker.output.name: i for i, worker in enumerate(workers)}
        self.sources = tuple(
            tuple((position[n.tensor], n) for n in worker.needs if n.tensor in position)
            for worker in workers
        )
        readers: list[dict[int, None]] = [{} for _ in workers]
        for reader, sources in enumerate(self.sources):
            for source, _ in sources:
                readers[source][reader] = None
        self.readers = tuple(map(tuple, readers))
        self.gates = [[(i, need.high) for i, need in sources] for sources in self.sources]
        for follower, leader in (paces or {}).items():
            (source, need), *_ = self.sources[follower]
            read = next(need for i, need in self.sources[leader] if i == source)
            waits, before = paced(need, read)
            self.gates[follower][0] = source, waits
            self.gates[leader].append((follower, before))
        self.paces = dict(paces or {})
        self.made = [0] * len(workers)
        self.kept = [0] * len(workers)
        self._rows = [worker.rows for worker in workers]
        self.blocks = [worker.block for worker in workers]
        self._folded = [_folded(worker) for worker in workers]
        self._released = [self.released(i) for i in range(len(workers))]

    def awaited(self, position: int) -> list[tuple[int, tuple[int, ...]]]:
        """Return what a position waits for to run in pace, as in ``gates``."""
        gates = self.gates[position]
        return gates[: position in self.paces] + gates[len(self.sources[position]) :]

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
                yield Keep(position, self.kept[position])
                self.kept[position] += self.blocks[position]
            elif self._ready(position):
                yield Make(position, self.made[position])
                self.made[position] += self.blocks[position]
                for source in self._released[position]:
                    if self._pending(source):
                        yield Keep(source, self.kept[source])
                        self.kept[source] += self.blocks[source]
                waits = self.paces.get(position, position)
                position = max(self.last_reader(position), waits)
            else:
                position -= 1

    def _pending(self, position: int) -> bool:
        return position in self.stored and self.kept[position] < self.made[position]

    def _ready(self, position: int) -> bool:
        row = self.made[position]
        if row >= self._rows[position]:
            return False
        last = row + self.blocks[position] - 1
        for source, high in self.gates[position]:
            if self._available(source) < high[last]:
                break
        else:
            return True
        return False

    def _available(self, position: int) -> int:
        """Return the rows of a worker's output that are there; a fold's come with its last call."""
        made, folded = self.made[position], self._folded[position]
        return made // self._rows[position] * folded if folded else made


def _folded(worker: Worker) -> int:
    """Return the rows that the last call of a fold makes at once, 0 for other workers."""
    return row_count(worker.output) if isinstance(worker, RowWork) and worker.folds else 0


def paced(need: RowNeed, leader: RowNeed) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return how a node runs in step with another reader, the leader, of the rows it reads.

    Each row is made just before that row of the leader which lets go of what both read: no earlier,
    so that it need not be kept, and no later, so that what it is made from need not be.

    Args:
        need: what the node needs.
        leader: what the leader needs of the same tensor.

    Returns:
        By row of the node, the rows of the tensor that it awaits; by row of the leader, the rows
        of the node that it awaits.
    """
    turns = [bisect_right(leader.low, low) - 1 for low in need.low]
    pairs = zip(need.high, turns, strict=True)
    waits = tuple(max(high, leader.high[turn]) if turn >= 0 else high for high, turn in pairs)
    return waits, tuple(bisect_right(turns, row) for row in range(len(leader.low)))


def straight(values: Sequence[int], most: int) -> tuple[int, int] | None:
    """Return ``(a, b)`` with ``values[i] == min(max(a * i + b, 0), most)``, ``None`` without any.

    That is how the generated code counts rows that are awaited.
    """
    rises = (after - before for before, after in pairwise(values))
    slope = max(rises, default=0)
    bends = (i for i, value in enumerate(values) if value > 0)
    first = next(bends, 0)
    start = values[first] - slope * first
    found = [min(max(slope * i + start, 0), most) for i in range(len(values))]
    return (slope, start) if found == list(values) else None
