"""Cuts: where a network is split into layers and streams.

Every run of nodes that can work row by row may become a stream; its memory is estimated from one
run of the schedule per start. A minimax shortest path over the steps finds the cuts whose largest
need is least; a second shortest path finds, within that limit, the plan with the least work.

Source: the two problems (least memory, least work within a limit) follow msf-CNN (arXiv
2505.11483); here rows are kept in rings, so nothing is computed twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from toolchain.ir.graph import Graph, Node
from toolchain.kernels import Isa
from toolchain.plan.assemble import Segment
from toolchain.plan.flow import run_flow
from toolchain.plan.lifetimes import Work, roots
from toolchain.plan.rows import RowWork, row_bytes, row_work
from toolchain.plan.schedule import Feed, Worker
from toolchain.plan.streaming import is_guest, stream
from toolchain.plan.tiles import Grid, Tiling

_ROW_COST = 60  # instructions of calling a row kernel and deciding whose turn it is


@dataclass(frozen=True)
class Edge:
    """Steps ``[first, end)`` as one stage.

    Attributes:
        first: first step.
        end: step behind the last.
        stream: whether it is a stream, else a single layer.
        need: bytes alive at its worst moment (an estimate: no layout, best overlaps).
        work: instructions beyond those of plain layers.
    """

    first: int
    end: int
    stream: bool
    need: int
    work: int


@dataclass(frozen=True)
class _Value:
    """A whole tensor: bytes, the step that makes it (-1: an input), the last that needs it."""

    name: str
    size: int
    made: int
    last: int


class Cuts:
    """All ways to cut one order of execution into stages.

    Args:
        graph: the graph.
        isa: instruction set the kernels are chosen for.
        work: what each node needs as a layer.
        order: nodes in order of execution.
        fed: whether the caller may hand over the network's input row by row.
    """

    def __init__(
        self,
        graph: Graph,
        isa: Isa,
        work: Mapping[str, Work],
        order: Sequence[Node],
        *,
        fed: bool = False,
    ) -> None:
        self.graph, self.isa, self.work, self.order = graph, isa, work, order
        self.root = roots(graph, work)
        self.rows = [row_work(graph, node, isa) for node in order]
        self.values = self._values()
        self.fed = fed and self._can_feed()
        self.edges = self._edges()

    def narrowest(self) -> int:
        """Return the least possible need of the neediest stage."""
        best = [0] + [1 << 60] * len(self.order)
        for edge in self.edges:
            best[edge.end] = min(best[edge.end], max(best[edge.first], edge.need))
        return best[-1]

    def path(self, limit: int) -> list[Edge]:
        """Return the stages with the least work among those that need at most ``limit`` bytes."""
        best: list[tuple[int, int]] = [(0, 0)] + [(1 << 60, 0)] * len(self.order)
        taken: list[Edge | None] = [None] * (len(self.order) + 1)
        for edge in self.edges:
            if edge.need <= limit:
                cost = best[edge.first][0] + edge.work, best[edge.first][1] + 1
                if cost < best[edge.end]:
                    best[edge.end], taken[edge.end] = cost, edge
        path: list[Edge] = []
        step = len(self.order)
        while (edge_in := taken[step]) is not None:
            path.append(edge_in)
            step = edge_in.first
        return path[::-1]

    def segments(self, path: Sequence[Edge], limit: int) -> list[Segment]:
        """Return the stages of ``path``; rows move to rings only where ``limit`` asks for it."""
        return [
            self._stream(edge, limit) if edge.stream else Segment(edge.first, edge.end)
            for edge in path
        ]

    def _values(self) -> list[_Value]:
        made = dict.fromkeys(self.graph.sources, -1)
        last = dict.fromkeys(self.graph.sources, -1)
        for step, node in enumerate(self.order):
            for name in node.inputs:
                if name in self.root:
                    last[self.root[name]] = step
            for name in node.outputs:
                made.setdefault(self.root[name], step)
                last.setdefault(self.root[name], step)
        for name in self.graph.sinks:
            last[self.root[name]] = len(self.order)
        sizes = self.graph.tensors
        return [_Value(name, sizes[name].nbytes, made[name], last[name]) for name in made]

    def _can_feed(self) -> bool:
        name = self.graph.inputs[0]
        first = self.rows[0]
        single = len(self.graph.inputs) == 1 and name not in self.graph.sinks
        return single and first is not None and any(n.tensor == name for n in first.needs)

    def _edges(self) -> list[Edge]:
        """Return all edges in order of their first step."""
        edges: list[Edge] = []
        starts = self._narrow_steps()
        for step in range(len(self.order)):
            feeds = self.fed and step == 0  # then the first stage must be a stream
            if not feeds:
                edges.append(self._layer(step))
            if step in starts and self.rows[step] is not None:
                ends = _Starts(self, step).edges()
                edges.extend(e for e in ends if feeds or e.end in starts)
        return edges

    def _narrow_steps(self) -> set[int]:
        """Return the steps before which no more bytes are alive than before their neighbours."""
        count = len(self.order)
        alive = [
            sum(v.size for v in self.values if v.made < step <= v.last) for step in range(count + 1)
        ]
        inner = {
            s for s in range(1, count) if alive[s] <= alive[s - 1] and alive[s] <= alive[s + 1]
        }
        return inner | {0, count}

    def _layer(self, step: int) -> Edge:
        work = self.work[self.order[step].name]
        alive = [v for v in self.values if v.made <= step <= v.last]
        saved = [
            v.size + y.size - max(v.size + distance, y.size)
            for y in alive
            if y.made == step
            for name, distance in work.overlaps.items()
            for v in alive
            if v.name == self.root[name] and v.last == step and v.made < step
        ]
        need = sum(v.size for v in alive) + work.scratch_bytes - max([0, *saved])
        return Edge(step, step + 1, stream=False, need=need, work=0)

    def run(self, step: int) -> list[Worker]:
        """Return the longest run of row by row workers from ``step``, a feed included."""
        workers: list[Worker] = []
        if step == 0 and self.fed:
            workers.append(Feed(self.graph.input_tensors[0]))
        for work in self.rows[step:]:
            if work is None:
                break
            workers.append(work)
        return workers

    def _stream(self, edge: Edge, limit: int) -> Segment:
        nodes = tuple(self.order[edge.first : edge.end])
        inside = frozenset(v.name for v in self.inner(edge.first, edge.end))
        feed = self.graph.inputs[0] if self.fed and edge.first == 0 else ""
        tiling = Tiling(self.graph, nodes, Grid(1, 1), inside, feed)
        return Segment(edge.first, edge.end, stream(tiling, self.isa, max(0, limit - edge.need)))

    def inner(self, first: int, end: int) -> list[_Value]:
        """Return the tensors that a stream of steps ``[first, end)`` need not keep whole."""
        least = -1 if first == 0 and self.fed else first
        return [v for v in self.values if v.made >= least and v.last < end and not self._folded(v)]

    def _folded(self, value: _Value) -> bool:
        """Tell whether a fold makes this value: it is whole even inside a stream."""
        work = self.rows[value.made] if value.made >= 0 else None
        return work is not None and work.folds


class _Starts:
    """The streams that start at one step, longer and longer."""

    def __init__(self, cuts: Cuts, first: int) -> None:
        self.cuts, self.first = cuts, first
        self.workers = cuts.run(first)
        self.shift = sum(isinstance(worker, Feed) for worker in self.workers)
        self.flow = run_flow(self.workers)
        self.values = {v.name: v for v in cuts.values}
        self.sizes = tuple(row_bytes(worker.output) for worker in self.workers)
        self.rings = self.moving = 0
        self.fresh = [0] * len(self.workers)

    def edges(self) -> Iterator[Edge]:
        """Yield one edge per possible end."""
        count = len(self.workers) - self.shift
        closing: dict[int, list[int]] = {}
        for position, worker in enumerate(self.workers):
            value = self.values.get(worker.output.name)
            inner = not (isinstance(worker, RowWork) and worker.folds)
            if value is not None and inner and value.last < self.first + count:
                closing.setdefault(value.last, []).append(position)
        work = 0
        for end in range(self.first + 1, self.first + count + 1):
            row = self.cuts.rows[end - 1]
            assert row is not None
            work += row.rows * _ROW_COST
            if row.folds:
                self.rings += row.special.scratch_bytes
            else:
                self.fresh[end - 1 - self.first + self.shift] += row.special.scratch_bytes
            for position in closing.get(end - 1, ()):
                self._enclose(position)
            need = self._maps(end) + self.rings + max(self.fresh)
            yield Edge(self.first, end, stream=True, need=need, work=work + self.moving)

    def _enclose(self, position: int) -> None:
        """Count what the rows of a tensor need once all its readers are in the stream."""
        storage, worker = self.flow.storage[position], self.workers[position]
        size = row_bytes(worker.output)
        if not storage.separable:
            self.rings += storage.total * size
            return
        if is_guest(self.flow, position, self.sizes):
            host = storage.host
            if self.flow.storage[host].separable:
                self._occupy(self.flow.last_reader[host] + 1, position, self.sizes[host])
            return
        self.rings += storage.kept * size
        self.moving += worker.rows * size // 4 if storage.kept else 0
        self._occupy(position + self._in_place(worker), position, size)

    def _occupy(self, start: int, position: int, size: int) -> None:
        """Count a row from ``start`` to the last reader of what ``position`` makes."""
        for p in range(start, self.flow.last_reader[position] + 1):
            self.fresh[p] += size

    def _in_place(self, worker: Worker) -> bool:
        """Tell whether the output row can take the place of an input row that dies."""
        overlaps = worker.overlaps if isinstance(worker, RowWork) else {}
        rows = {w.output.name: s for w, s in zip(self.workers, self.flow.storage, strict=True)}
        return any(d == 0 and name in rows and not rows[name].kept for name, d in overlaps.items())

    def _maps(self, end: int) -> int:
        """Return the bytes of whole tensors alive, less what the best overlap saves."""
        inside = {v.name for v in self.cuts.inner(self.first, end)}
        alive = [
            v
            for v in self.cuts.values
            if v.made < end and v.last >= self.first and v.name not in inside
        ]
        dying = [v for v in alive if v.made < self.first and v.last < end]
        made = [v for v in alive if v.made >= self.first]
        saved = [0]
        for y in made:
            position = y.made - self.first + self.shift
            for v in dying:
                lows = self.flow.lows[position]
                if v.name in lows:
                    row = row_bytes(self.cuts.graph.tensors[v.name])
                    distance = self.flow.distance(v.name, row, position)
                    saved.append(v.size + y.size - max(v.size + distance, y.size))
        return sum(v.size for v in alive) - max(saved)
