"""Assemble: stages in order become a plan, with buffers, overlaps and a layout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from toolchain.ir.graph import Graph, Node
from toolchain.kernels import Isa
from toolchain.plan.flow import Flow
from toolchain.plan.layout import Block, Problem, solve
from toolchain.plan.lifetimes import Buffer, Work, buffers, roots
from toolchain.plan.plan import (
    ARENA,
    LayerStage,
    Plan,
    RowStore,
    Slot,
    Stage,
    StreamStage,
    graph_hash,
)
from toolchain.plan.rows import RowWork, row_bytes
from toolchain.plan.schedule import Feed

WORD = 4


@dataclass(frozen=True, eq=False)
class Segment:
    """Steps ``[first, end)`` of the order: one layer, or a stream.

    Attributes:
        first: first step.
        end: step behind the last.
        flow: how the stream runs, ``None`` for a layer.
        stores: where the stream keeps the rows of tensors that are never whole.
    """

    first: int
    end: int
    flow: Flow | None = None
    stores: tuple[RowStore, ...] = ()

    @property
    def works(self) -> tuple[RowWork, ...]:
        """Return the stream's nodes."""
        workers = self.flow.workers if self.flow else ()
        return tuple(worker for worker in workers if isinstance(worker, RowWork))

    @property
    def feed(self) -> str:
        """Return the network's input if the caller hands it over row by row, else nothing."""
        workers = self.flow.workers if self.flow else ()
        return next((worker.output.name for worker in workers if isinstance(worker, Feed)), "")


@dataclass(frozen=True)
class _Overlap:
    """Buffer ``lower`` may run over ``upper`` if they meet in steps ``[first, last]`` only."""

    upper: str
    lower: str
    first: int
    last: int
    distance: int


def assemble(
    graph: Graph,
    isa: Isa,
    work: Mapping[str, Work],
    order: Sequence[Node],
    segments: Sequence[Segment],
) -> Plan:
    """Return the plan that executes ``segments`` of ``order``, laid out in least memory."""
    return _Assembly(graph, isa, work, order, segments).plan()


class _Assembly:
    def __init__(
        self,
        graph: Graph,
        isa: Isa,
        work: Mapping[str, Work],
        order: Sequence[Node],
        segments: Sequence[Segment],
    ) -> None:
        self.graph, self.isa, self.work, self.order = graph, isa, work, order
        self.segments = segments
        self.root = roots(graph, work)

    def plan(self) -> Plan:
        needed = [*self._maps(), *self._working()]
        overlaps = [*self._layer_overlaps(), *self._map_overlaps(), *self._row_overlaps()]
        layout = solve(_problem(needed, overlaps))
        return Plan(
            graph_hash(self.graph),
            self.isa.name.lower(),
            tuple(self._stage(segment) for segment in self.segments),
            tuple(map(_slot, needed, layout.offsets)),
            layout.extent * WORD,
            layout.bound * WORD,
            self.graph.macs,
            recomputed_macs=0,
        )

    def _stage(self, segment: Segment) -> Stage:
        if segment.flow is None:
            node = self.order[segment.first]
            return LayerStage(node.name, self.work[node.name].kernel)
        works = segment.works
        names, kernels = tuple(w.node.name for w in works), tuple(w.kernel for w in works)
        return StreamStage(segment.feed, names, kernels, segment.stores)

    def _maps(self) -> list[Buffer]:
        """Return the buffers of tensors that are whole at some time."""
        inside = {store.tensor for segment in self.segments for store in segment.stores}
        spans = [(s.first, s.end - 1) for s in self.segments for _ in range(s.first, s.end)]
        found = buffers(self.graph, self.work, self.order, spans)
        return [buffer for buffer in found if buffer.name not in inside]

    def _working(self) -> Iterator[Buffer]:
        """Yield scratch memory, rings and fresh rows."""
        for segment in self.segments:
            if segment.flow is None:
                size = self.work[self.order[segment.first].name].scratch_bytes
                yield from self._scratch(segment.first, size, segment.first, segment.first)
                continue
            for step, work in enumerate(segment.works, segment.first):
                span = (segment.first, segment.end - 1) if work.folds else (step, step)
                yield from self._scratch(step, work.special.scratch_bytes, *span)
            yield from self._rows(segment, segment.flow)

    def _scratch(self, step: int, size: int, first: int, last: int) -> Iterator[Buffer]:
        if size:
            yield Buffer(f"{self.order[step].name}.scratch", (), size, first, last)

    def _rows(self, segment: Segment, flow: Flow) -> Iterator[Buffer]:
        stores = {store.tensor: store for store in segment.stores}
        shift = segment.end - len(flow.workers)  # a feed shares the first node's step
        release = _release(flow, stores)
        for position, worker in enumerate(flow.workers):
            if (store := stores.get(worker.output.name)) is None:
                continue
            size = row_bytes(worker.output)
            if store.ring:
                ring = store.ring * size
                yield Buffer(f"{store.tensor}.ring", (), ring, segment.first, segment.end - 1)
            if store.fresh:
                start = max(segment.first, position + shift)
                last = max(start, release[position] + shift)
                yield Buffer(f"{store.tensor}.fresh", (), size, start, last)

    def _layer_overlaps(self) -> Iterator[_Overlap]:
        for segment in self.segments:
            step, node = segment.first, self.order[segment.first]
            if segment.flow is None:
                for name, distance in self.work[node.name].overlaps.items():
                    upper, lower = self.root[name], self.root[node.outputs[0]]
                    yield _Overlap(upper, lower, step, step, distance)

    def _map_overlaps(self) -> Iterator[_Overlap]:
        """Yield whole maps that a stream reads and that its whole outputs may run over."""
        for segment in self.segments:
            if segment.flow is None:
                continue
            inside = {store.tensor for store in segment.stores}
            for position, worker in enumerate(segment.flow.workers):
                lower = worker.output
                for name in segment.flow.lows[position]:
                    upper = self.graph.tensors[name]
                    if lower.name in inside or upper.dtype != lower.dtype:
                        continue
                    distance = segment.flow.distance(name, row_bytes(upper), position)
                    if distance < lower.nbytes:
                        steps = segment.first, segment.end - 1
                        yield _Overlap(self.root[name], lower.name, *steps, distance)

    def _row_overlaps(self) -> Iterator[_Overlap]:
        """Yield fresh rows that an elementwise node may overwrite with its own fresh row.

        With a ring behind it, the fresh row is newer than the one that the node reads.
        """
        for segment in self.segments:
            fresh = {store.tensor for store in segment.stores if store.fresh}
            passing = fresh - {store.tensor for store in segment.stores if store.ring}
            for step, work in enumerate(segment.works, segment.first):
                for name, distance in work.overlaps.items():
                    if name in passing and work.output.name in fresh:
                        names = f"{name}.fresh", f"{work.output.name}.fresh"
                        yield _Overlap(*names, step, step, distance)


def _release(flow: Flow, stores: Mapping[str, RowStore]) -> list[int]:
    """Return per position the last one that needs its newest row where it was made."""
    found = list(flow.last_reader)
    place = {worker.output.name: i for i, worker in enumerate(flow.workers)}
    for store in stores.values():
        if store.host:
            host = place[store.host]
            found[host] = max(found[host], flow.last_reader[place[store.tensor]])
    return found


def _problem(needed: Sequence[Buffer], overlaps: Sequence[_Overlap]) -> Problem:
    """State the layout problem in words."""
    index = {buffer.name: i for i, buffer in enumerate(needed)}
    pairs: dict[tuple[int, int], int] = {}
    for overlap in overlaps:
        upper, lower = index[overlap.upper], index[overlap.lower]
        if needed[upper].last == overlap.last and needed[lower].first == overlap.first:
            pairs[upper, lower] = -(-overlap.distance // WORD)
    return Problem(tuple(Block(-(-b.size // WORD), b.first, b.last) for b in needed), pairs)


def _slot(buffer: Buffer, offset: int) -> Slot:
    place = ARENA, offset * WORD, buffer.size, buffer.first, buffer.last
    return Slot(buffer.name, buffer.tensors, *place)
