"""The row-liveness bound: the least memory of any plan made of whole maps and streams of rows.

Every row counts from when it is made until the last row that needs it, with no fragmentation and
no scratch memory; a depthwise row that one 1x1 convolution reads is never stored; an elementwise
row takes the place of a row that dies. Maps are whole only where the network is cut. The least
peak over all cuts is a minimax path. Plans that work in place channel by channel, divide rows, or
compute them twice, may be below. States keep their bytes for ever.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from toolchain.ir.graph import Graph, Node
from toolchain.kernels import Isa
from toolchain.ops import DepthwiseConv2D
from toolchain.ops.window import IDENTITY
from toolchain.plan.flow import best_flow
from toolchain.plan.lifetimes import prepare
from toolchain.plan.order import branches_first, views_late
from toolchain.plan.rows import RowWork, row_bytes, row_work
from toolchain.plan.schedule import Feed, Make, Stream, Worker

_Counts = npt.NDArray[np.int64]


def row_bound(graph: Graph, *, fed: bool) -> int:
    """Return the bound in bytes.

    Args:
        graph: a verified graph.
        fed: whether the caller hands over the input row by row.
    """
    works = prepare(graph, Isa.PORTABLE)
    orders = [graph.nodes, branches_first(graph)]
    orders += [views_late(graph, works, order) for order in orders]
    orders = list(dict.fromkeys(orders))
    return min(_bound_of(replace(graph, nodes=order), fed=fed) for order in orders)


def _bound_of(graph: Graph, *, fed: bool) -> int:
    """Return the bound for the graph's own order of nodes."""
    maps = _maps(graph)
    works = [row_work(graph, node, Isa.PORTABLE) for node in graph.nodes]
    best = [0] + [1 << 60] * len(works)
    for first, node in enumerate(graph.nodes):
        alive = sum(m.size for m in maps.values() if m.made <= first <= m.last)
        best[first + 1] = min(best[first + 1], max(best[first], alive - _reused(graph, node, maps)))
        run: list[RowWork] = []
        for work in works[first:]:
            if work is None:
                break
            run.append(work)
        if run:
            for length, need in enumerate(_Run(graph, maps, first, run, fed=fed).needs(), 1):
                best[first + length] = min(best[first + length], max(best[first], need))
    return best[-1]


@dataclass(frozen=True)
class _Map:
    """A whole tensor: bytes, the step that makes it (-1: an input), the last that needs it."""

    size: int
    made: int
    last: int


def _maps(graph: Graph) -> dict[str, _Map]:
    steps = {node.name: step for step, node in enumerate(graph.nodes)}
    found = {}
    for name, tensor in graph.tensors.items():
        maker = graph.producers.get(name)
        if tensor.is_constant or (maker is None and name not in graph.inputs):
            continue
        made = -1 if maker is None else steps[maker.name]
        last = max([made, *(steps[node.name] for node in graph.consumers[name])])
        last = len(steps) if name in graph.outputs else last
        view = maker is not None and maker.op.name == "reshape"
        found[name] = _Map(0 if view else tensor.nbytes, made, last)
    for state in graph.states:  # at one place for ever
        found[state.read] = _Map(graph.tensors[state.read].nbytes, -1, len(steps))
        found[state.write] = replace(found[state.write], size=0)
    return found


def _reused(graph: Graph, node: Node, maps: Mapping[str, _Map]) -> int:
    """Return the bytes of a layer's output that lie where its input dies."""
    operands = graph.operands(node)
    step = maps[node.outputs[0]].made
    pairs = zip(operands.activations, node.op.windows(operands), strict=True)
    same = (x.nbytes for x, w in pairs if w.elementwise and maps[x.name].last == step)
    return min(max(same, default=0), sum(maps[name].size for name in node.outputs))


class _Run:
    """A stream from one start, as long as it can be; every shorter one is a part of it."""

    def __init__(
        self,
        graph: Graph,
        maps: Mapping[str, _Map],
        first: int,
        works: Sequence[RowWork],
        fed: bool,
    ) -> None:
        self.graph, self.maps, self.first, self.works = graph, maps, first, works
        feed = graph.input_tensors[0]
        feeds = fed and first == 0 and any(n.tensor == feed.name for n in works[0].needs)
        workers: list[Worker] = [Feed(feed)] if feeds else []
        self.workers = [*workers, *works]
        self.shift = len(self.workers) - len(works)
        self.index = {worker.output.name: i for i, worker in enumerate(self.workers)}
        self.stream = Stream(self.workers, frozenset(), paces=best_flow(self.workers).paces)
        outside = {n.tensor for worker in works for n in worker.needs} - set(self.index)
        self.names = [*self.index, *outside]
        self.size = np.array([row_bytes(graph.tensors[name]) for name in self.names])

    def needs(self) -> list[int]:
        """Return the bytes of the streams of 1, 2, ... nodes."""
        positions, rows, made, saved = self._history()
        alive = [m for name, m in self.maps.items() if name not in self.names]
        found = []
        for end in range(self.first + 1, self.first + len(self.works) + 1):
            inner = np.array([self.maps[name].last < end for name in self.names])
            known = np.array([self._known(i, end) for i in range(len(self.names))])
            kept = np.where(inner, rows * (self.size * ~self._fused(end)), made * self.size)
            busy = positions < end - self.first + self.shift
            peak = int((((kept * known).sum(1) - saved)[busy]).max())
            found.append(peak + sum(m.size for m in alive if m.made < self.first <= m.last))
        return found

    def _known(self, i: int, end: int) -> bool:
        return i >= len(self.workers) or i < end - self.first + self.shift

    def _fused(self, end: int) -> npt.NDArray[np.bool_]:
        """Tell which tensors are depthwise rows that a 1x1 convolution takes as they come."""
        limit = end - self.first + self.shift
        return np.array(
            [i < len(self.workers) and 0 <= self._taker(i) < limit for i in range(len(self.names))]
        )

    def _taker(self, position: int) -> int:
        """Return who takes the rows of a depthwise convolution as they come, -1 for nobody."""
        worker, readers = self.workers[position], self.stream.readers[position]
        if isinstance(worker, Feed) or not isinstance(worker.node.op, DepthwiseConv2D):
            return -1
        if len(readers) != 1 or len(self.graph.consumers[worker.output.name]) != 1:
            return -1
        reader = self.workers[readers[0]]
        assert isinstance(reader, RowWork)
        operands = reader.operands
        window = reader.node.op.windows(operands)[0]
        plain = reader.node.op.name == "conv2d" and window.axes[1] == window.axes[2] == IDENTITY
        return readers[0] if plain else -1

    def _history(self) -> tuple[_Counts, _Counts, _Counts, _Counts]:
        """Return per event: who acts, rows alive and rows made of each map, bytes reused."""
        count = len(self.workers)
        takers = [self._taker(i) for i in range(count)]
        readers = self._readers()
        touched = [
            [i for i, found in enumerate(readers) if any(p in (r, takers[r]) for r, _ in found)]
            for p in range(count)
        ]
        made = np.array([0] * count + [self._rows(i) for i in range(count, len(self.names))])
        low = np.zeros(len(self.names), np.int64)
        history: list[tuple[int, _Counts, _Counts, int]] = []
        for event in self.stream.events():
            assert isinstance(event, Make)
            p = event.position
            self._make(made, p)
            alive, done = made - np.minimum(low, made), list(self.stream.made)
            done[p] += 1
            after = low.copy()
            for i in touched[p]:
                after[i] = self._low(readers[i], done, takers)
            history.append((p, alive, made.copy(), self._in_place(p, after > low)))
            low = after
        positions, rows, counts, saved = zip(*history, strict=True)
        return np.array(positions), np.stack(rows), np.stack(counts), np.array(saved)

    def _readers(self) -> list[list[tuple[int, tuple[int, ...]]]]:
        """Return for each map who reads it, with the first row that each of its rows needs."""
        return [
            [(i, n.low) for i, w in enumerate(self.workers) for n in w.needs if n.tensor == name]
            for name in self.names
        ]

    def _rows(self, index: int) -> int:
        return self.graph.tensors[self.names[index]].shape[1]

    def _make(self, made: _Counts, position: int) -> None:
        """Count the row that is made; the output of a fold comes with its last call."""
        worker = self.workers[position]
        if not isinstance(worker, RowWork) or not worker.folds:
            made[position] += 1
        elif self.stream.made[position] + 1 == worker.rows:
            made[position] = self._rows(position)

    @staticmethod
    def _low(
        readers: Sequence[tuple[int, tuple[int, ...]]], done: Sequence[int], takers: Sequence[int]
    ) -> int:
        """Return the first row that a reader still needs; a fused one is as far as its reader."""
        lows = [1 << 40]
        for i, low in readers:
            progress = done[takers[i]] if takers[i] >= 0 else done[i]
            if progress < len(low):
                lows.append(low[progress])
        return min(lows)

    def _in_place(self, position: int, dies: npt.NDArray[np.bool_]) -> int:
        """Return the bytes of the new row that lie where an input's row dies."""
        worker = self.workers[position]
        if isinstance(worker, Feed) or worker.folds:
            return 0
        windows = worker.node.op.windows(worker.operands)
        pairs = zip(worker.operands.activations, windows, strict=True)
        place = {name: i for i, name in enumerate(self.names)}
        same = any(w.elementwise and x.name in place and dies[place[x.name]] for x, w in pairs)
        return row_bytes(worker.output) if same else 0
