"""Flow: what a stream needs of memory, learned by running its schedule once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from toolchain.plan.rows import RowWork, row_bytes
from toolchain.plan.schedule import Keep, Make, Stream, Worker


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
    """

    workers: tuple[Worker, ...]
    storage: tuple[Storage, ...]
    last_reader: tuple[int, ...]
    lows: tuple[dict[str, list[int]], ...]

    def distance(self, source: str, in_row: int, position: int) -> int:
        """Return how many bytes above the output of ``position`` the map ``source`` must start.

        Args:
            source: a whole map that the stream reads.
            in_row: bytes of its rows.
            position: a worker whose output is a whole map.
        """
        worker, lows = self.workers[position], self.lows[position][source]
        if isinstance(worker, RowWork) and worker.folds:
            return max(0, worker.output.nbytes - lows[-1] * in_row)
        out_row = row_bytes(worker.output)
        return max(0, *((y + 1) * out_row - low * in_row for y, low in enumerate(lows)))


def run_flow(workers: Sequence[Worker]) -> Flow:
    """Run the schedule of ``workers`` with a ring and a fresh row for each output."""
    return _Run(workers).flow()


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
    def __init__(self, workers: Sequence[Worker]) -> None:
        self.workers = tuple(workers)
        count = len(self.workers)
        self.stream = Stream(workers, frozenset(range(count)))
        self.total, self.kept = [1] * count, [0] * count
        self.separable = [True] * count
        self.fresh: set[int] = set()
        self.hosts = [self._host(i) for i in range(count)]
        self.ahead = [(0, 0)] * count
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
        for event in self.stream.events():
            if isinstance(event, Make):
                self._make(event)
            else:
                self._keep(event)
        hosts = (self._proven_host(i) for i in range(len(self.workers)))
        storage = tuple(map(Storage, self.total, self.kept, self.separable, hosts))
        last = tuple(self.stream.last_reader(i) for i in range(len(self.workers)))
        return Flow(self.workers, storage, last, tuple(self.lows))

    def _make(self, event: Make) -> None:
        p = event.position
        for other in self.fresh:
            if not other <= p <= self.stream.last_reader(other):
                self.separable[other] = False
        alive = event.row + 1 - self._low(self.inner[p], event.row)
        self.total[p] = max(self.total[p], alive)
        self._watch(p, event.row)
        for name, readers in self.outside.items():
            self.lows[p][name].append(self._low(readers, 1 << 30))
        self.fresh.add(p)

    def _keep(self, event: Keep) -> None:
        p = event.position
        alive = event.row + 1 - self._low(self.inner[p], event.row + 1)
        self.kept[p] = max(self.kept[p], alive)
        self.fresh.discard(p)

    def _host(self, position: int) -> int:
        """Return the position whose rows those of ``position`` may replace, -1 for none."""
        worker, sources = self.workers[position], self.stream.sources[position]
        if not isinstance(worker, RowWork) or not worker.special.over_row or len(sources) != 1:
            return -1
        host = sources[0][0]
        return host if self.stream.readers[host] == (position,) else -1

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
        return min((low[made[r]] for r, low in readers if made[r] < len(low)), default=limit)
