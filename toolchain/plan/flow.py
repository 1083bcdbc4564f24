"""Flow: what a stream needs of memory, learned by running its schedule once."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from toolchain.ir.tensor import Tensor
from toolchain.plan.rows import RowWork, row_bytes, row_count
from toolchain.plan.schedule import Keep, Make, Stream, Worker, straight


@dataclass(frozen=True)
class Storage:
    """Rows that the output of one worker needs.

    Attributes:
        total: rows of a ring that also takes the newest row.
        kept: rows of a ring if the newest row has a slot of its own; 0 if no row is kept.
        separable: whether such a slot is free again before any worker behind the last reader runs.
        host: the position on whose ring the rows may be guests (`RowStore.host`), -1 for none.
    """

    total: int
    kept: int
    separable: bool
    host: int = -1


@dataclass(frozen=True)
class Flow:
    """What a run of a stream has shown.

    Attributes:
        workers: feed and nodes.
        storage: per position.
        last_reader: per position, the last position that reads its output; -1 for none.
        lows: per position and outside tensor, the first row of that tensor still needed whenever
            the worker makes a row.
        turns: per position, when it makes its rows; time counts events of the schedule.
        used: per position, when its rows are read, written or moved for the last time.
        paces: positions that run in pace with another (`Stream`).
    """

    workers: tuple[Worker, ...]
    storage: tuple[Storage, ...]
    last_reader: tuple[int, ...]
    lows: tuple[dict[str, list[int]], ...]
    turns: tuple[tuple[int, ...], ...]
    used: tuple[int, ...]
    paces: Mapping[int, int]

    @property
    def ring_bytes(self) -> int:
        """Return the bytes of the rings of all outputs."""
        rows = (s.kept if s.separable else s.total for s in self.storage)
        return sum(n * row_bytes(w.output) for n, w in zip(rows, self.workers, strict=True))

    def distance(self, source: Tensor, position: int, ring: int = 0) -> int:
        """Return how many bytes above the output of ``position`` the map ``source`` must start.

        It is negative where the map may even start below: what is written above its start comes
        when the map has been read so far.

        Args:
            source: a whole map that the stream reads.
            position: a worker.
            ring: rows of the ring that takes its rows, 0 if its output is a whole map.
        """
        worker, lows = self.workers[position], self.lows[position][source.name]
        in_row, out_row = row_bytes(source), row_bytes(worker.output)
        if isinstance(worker, RowWork) and worker.folds:
            return worker.output.nbytes - min(lows[-1] * in_row, source.nbytes)
        writes = [(y % ring if ring else y, low) for y, low in enumerate(lows)]
        if ring:
            writes += self._visits(source.name, position, ring)
        return max((y + 1) * out_row - min(low * in_row, source.nbytes) for y, low in writes)

    def _visits(self, source: str, host: int, ring: int) -> Iterator[tuple[int, int]]:
        """Yield where guests write on the ring of ``host``, and the row of ``source`` then due."""
        for position, (worker, storage) in enumerate(zip(self.workers, self.storage, strict=True)):
            if storage.host == host and isinstance(worker, RowWork):
                lows = self.lows[position][source]
                yield from ((worker.first_row(y) % ring, low) for y, low in enumerate(lows))

    def covered(self, position: int, time: int) -> int:
        """Return the bytes of the whole output of ``position`` that are made up to ``time``."""
        worker, made = self.workers[position], bisect_right(self.turns[position], time)
        if isinstance(worker, RowWork) and worker.folds:
            return worker.output.nbytes if made == worker.rows else 0
        return made * row_bytes(worker.output)


def run_flow(workers: Sequence[Worker], paces: Mapping[int, int]) -> Flow:
    """Run the schedule of ``workers`` with a ring and a fresh row for each output."""
    script = _Script(tuple(map(_line, workers)), tuple(workers))
    return replace(_played(script, tuple(paces.items())), workers=script.workers)


@dataclass(frozen=True)
class _Script:
    """Workers, equal to others that run the same schedule."""

    lines: tuple[Hashable, ...]
    workers: tuple[Worker, ...] = field(compare=False)


def _line(worker: Worker) -> Hashable:
    """Return what a schedule, and where its rows may lie, depend on."""
    plain = worker.output.name, worker.rows, tuple(worker.needs)
    if not isinstance(worker, RowWork):
        return plain
    over = worker.special.over_row and (worker.first_row(0), worker.first_row(1))
    return *plain, worker.block, over, worker.folds and row_count(worker.output)


@lru_cache(256)
def _played(script: _Script, paces: tuple[tuple[int, int], ...]) -> Flow:
    """Run a schedule once: kernels with less scratch memory, or other limits, do not change it."""
    return _Run(script.workers, dict(paces)).flow()


def best_flow(workers: Sequence[Worker]) -> Flow:
    """Run the schedule in which those nodes wait for another (`Stream`) that so save memory."""
    best = run_flow(workers, {})
    for follower, leader in _companions(workers):
        paces = {**best.paces, follower: leader}
        if can_pace(workers, paces):
            found = run_flow(workers, paces)
            best = min(best, found, key=lambda flow: flow.ring_bytes)
    return best


def _companions(workers: Sequence[Worker]) -> Iterator[tuple[int, int]]:
    """Yield nodes that may run in pace, each with the last reader of what it reads."""
    stream = Stream(workers, frozenset())
    for position, sources in enumerate(stream.sources):
        if sources:
            yield position, stream.last_reader(sources[0][0])


def can_pace(workers: Sequence[Worker], paces: Mapping[int, int]) -> bool:
    """Tell whether these followers can run in pace with their leaders (`Stream`), by position."""
    if not all(_alike(workers, *pair) for pair in paces.items()):
        return False
    stream = Stream(workers, frozenset(), paces=paces)
    awaited = (gate for position in range(len(workers)) for gate in stream.awaited(position))
    return all(straight(rows, workers[source].rows) is not None for source, rows in awaited)


def _alike(workers: Sequence[Worker], follower: int, leader: int) -> bool:
    """Tell whether both make rows from the rows of one tensor, the follower from nothing else."""
    needs = workers[follower].needs
    if len(needs) != 1 or not follower < leader:
        return False
    made = {worker.output.name: worker for worker in workers[:follower]}
    pair = workers[follower], workers[leader], made.get(needs[0].tensor, workers[leader])
    folds = any(isinstance(worker, RowWork) and worker.folds for worker in pair)
    reads = {need.tensor for need in workers[leader].needs}
    single = all(worker.block == 1 for worker in pair)
    return single and not folds and needs[0].tensor in reads & set(made)


def merged(flows: Sequence[Flow]) -> Flow:
    """Return a flow of the same nodes that needs the most that any of ``flows`` needs."""
    storages = zip(*(flow.storage for flow in flows), strict=True)
    storage = tuple(
        Storage(
            max(s.total for s in found),
            max(s.kept for s in found),
            all(s.separable for s in found),
            found[0].host if len({s.host for s in found}) == 1 else -1,
        )
        for found in storages
    )
    return replace(flows[0], storage=storage)


class _Run:
    def __init__(self, workers: Sequence[Worker], paces: Mapping[int, int]) -> None:
        self.workers, self.paces = tuple(workers), paces
        count = len(self.workers)
        self.stream = Stream(workers, frozenset(range(count)), paces=paces)
        self.last = tuple(self.stream.last_reader(i) for i in range(count))
        self.blocks = self.stream.blocks
        self.total, self.kept = list(self.blocks), [0] * count
        self.separable = [True] * count
        self.fresh: set[int] = set()
        self.hosts = [self._host(i) for i in range(count)]
        self.ahead = [(0, 0)] * count
        self.time = 0
        self.turns: list[list[int]] = [[] for _ in workers]
        self.used = [0] * count
        inside = {worker.output.name for worker in self.workers}
        self.outside: dict[str, list[tuple[int, tuple[int, ...]]]] = {}
        for i, worker in enumerate(self.workers):
            for need in worker.needs:
                if need.tensor not in inside:
                    self.outside.setdefault(need.tensor, []).append((i, need.low))
        self.inner: list[list[tuple[int, tuple[int, ...]]]] = [[] for _ in self.workers]
        for i, sources in enumerate(self.stream.sources):
            for source, need in sources:
                self.inner[source].append((i, need.low))
        self.lows: list[dict[str, list[int]]] = [{n: [] for n in self.outside} for _ in workers]

    def flow(self) -> Flow:
        for time, event in enumerate(self.stream.events()):
            self.time = time
            self.used[event.position] = self.time
            if isinstance(event, Make):
                self._make(event)
            else:
                self._keep(event)
        hosts = (self._proven_host(i) for i in range(len(self.workers)))
        storage = tuple(map(Storage, self.total, self.kept, self.separable, hosts))
        turns, used = tuple(map(tuple, self.turns)), tuple(self.used)
        return Flow(self.workers, storage, self.last, tuple(self.lows), turns, used, self.paces)

    def _make(self, event: Make) -> None:
        p = event.position
        for other in self.fresh:
            if not other <= p <= self.last[other]:
                self.separable[other] = False
        alive = event.row + self.blocks[p] - self._low(self.inner[p], event.row)
        self.total[p] = max(self.total[p], self._blocks(p, alive))
        self._watch(p, event.row)
        for name, readers in self.outside.items():
            self.lows[p][name] += [self._low(readers, 1 << 30)] * self.blocks[p]
        self.fresh.add(p)
        self.turns[p] += [self.time] * self.blocks[p]
        for source, _ in self.stream.sources[p]:
            self.used[source] = self.time
            if self.hosts[source] >= 0:
                self.used[self.hosts[source]] = self.time

    def _keep(self, event: Keep) -> None:
        p = event.position
        made = event.row + self.blocks[p]
        self.kept[p] = max(self.kept[p], self._blocks(p, made - self._low(self.inner[p], made)))
        self.fresh.discard(p)

    def _blocks(self, position: int, rows: int) -> int:
        """Return ``rows`` as whole blocks, which lie side by side in a ring."""
        return -(-rows // self.blocks[position]) * self.blocks[position]

    def _host(self, position: int) -> int:
        """Return the position whose rows those of ``position`` may replace, -1 for none."""
        worker, sources = self.workers[position], self.stream.sources[position]
        if not isinstance(worker, RowWork) or not worker.special.over_row or len(sources) != 1:
            return -1
        host = sources[0][0]
        single = self.blocks[host] == self.blocks[position] == 1
        return host if single and self.stream.readers[host] == (position,) else -1

    def _watch(self, position: int, row: int) -> None:
        """Note how far the rows of the host are ahead of the one that a guest replaces."""
        worker, host = self.workers[position], self.hosts[position]
        if isinstance(worker, RowWork) and host >= 0:
            first, far = worker.first_row(row), self.ahead[position]
            kept, made = self.stream.kept[host] - first, self.stream.made[host] - first
            self.ahead[position] = max(far[0], kept), max(far[1], made)

    def _proven_host(self, position: int) -> int:
        """Return the host if its ring never holds another row where a guest lies."""
        host = self.hosts[position]
        if host < 0 or not self.separable[position] or self.kept[position]:
            return -1
        if self.separable[host] and not self.kept[host]:
            return -1  # the host needs no ring
        kept, made = self.ahead[position]
        return host if kept <= self.kept[host] and made <= self.total[host] else -1

    def _low(self, readers: list[tuple[int, tuple[int, ...]]], limit: int) -> int:
        """Return the first row that any reader still needs, at most ``limit``."""
        made = self.stream.made
        for reader, low in readers:
            row = made[reader]
            if row < len(low) and low[row] < limit:
                limit = low[row]
        return limit
