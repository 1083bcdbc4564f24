"""Assemble: stages in order become a plan, with buffers, overlaps and a layout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from toolchain.ir.graph import Graph, Node
from toolchain.kernels import Isa
from toolchain.plan.effort import NORMAL, Effort
from toolchain.plan.flow import Flow
from toolchain.plan.layout import Block, Layout, Problem, solve
from toolchain.plan.lifetimes import Buffer, Work, buffers, roots, word_bytes
from toolchain.plan.overlap import BYTES
from toolchain.plan.plan import (
    ARENA,
    LayerStage,
    Plan,
    Repeat,
    RowStore,
    Slot,
    Stage,
    StreamStage,
    graph_hash,
)
from toolchain.plan.quicken import Faster, hoped, most_saved, quicken
from toolchain.plan.repeats import repeated
from toolchain.plan.rows import RowWork, row_bytes, row_count
from toolchain.plan.streaming import Streaming


@dataclass(frozen=True)
class Segment:
    """Steps ``[first, end)`` of the order: one layer, or a stream."""

    first: int
    end: int
    stream: Streaming | None = None


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
    repeats: tuple[Repeat, ...] = (),
    effort: Effort = NORMAL,
) -> Plan:
    """Return the plan that executes ``segments`` of ``order``, laid out in least memory.

    Args:
        graph: the graph.
        isa: instruction set the kernels are chosen for.
        work: what each node needs as a layer, second executions among them.
        order: nodes in order of execution, second executions among them.
        segments: layers and streams of them.
        repeats: nodes that are executed again.
        effort: how far to search for a layout.
    """
    assembly = _Assembly(graph, isa, work, order, segments, repeats)
    return next(assembly.plans({}, (None,), effort))


def assemble_lean(
    graph: Graph,
    isa: Isa,
    work: Mapping[str, Work],
    order: Sequence[Node],
    segments: Sequence[Segment],
    faster: Mapping[int, Sequence[Faster]],
    most: Sequence[float],
    effort: Effort = NORMAL,
) -> list[Plan]:
    """Return the plan of kernels with the least scratch memory, and others that are faster.

    Args:
        graph: the graph.
        isa: instruction set the kernels are chosen for.
        work: what each node needs as a layer.
        order: nodes in order of execution.
        segments: layers and streams of them.
        faster: kernels by step that take the place of those chosen where their scratch memory fits
            between what is alive.
        most: instructions that the faster plans may take: for that their arenas grow as far as
            they must.
        effort: how far to search for a layout.
    """
    assembly = _Assembly(graph, isa, work, order, segments, ())
    return list(assembly.plans(faster, (None, *most), effort))


class _Assembly:
    def __init__(
        self,
        graph: Graph,
        isa: Isa,
        work: Mapping[str, Work],
        order: Sequence[Node],
        segments: Sequence[Segment],
        repeats: tuple[Repeat, ...],
    ) -> None:
        self.model, self.graph = graph, repeated(graph, repeats)
        self.isa, self.work, self.order = isa, work, order
        self.segments, self.repeats = segments, repeats
        self.root, self.word = roots(self.graph, work), word_bytes(self.graph)
        self.quick: Mapping[int, Faster] = {}

    def plans(
        self,
        faster: Mapping[int, Sequence[Faster]],
        limits: Sequence[float | None],
        effort: Effort,
    ) -> Iterator[Plan]:
        bare, layout = self._laid({}, effort)
        names = {step: self._scratch_name(step) for step in faster}
        end, work = layout.extent * self.word, sum(map(self._instructions, self.segments))
        for limit in limits:
            most = None if limit is None else max(0.0, limit - work + most_saved(faster))
            slots, self.quick = quicken(bare, names, faster, end, most)
            if most is not None:
                wish = hoped(bare, names, faster, end, most)
                other = self._laid(wish, effort)
                if other[1].extent * self.word < max(slot.end for slot in slots):
                    (slots, layout), self.quick = other, wish
            yield self._plan(slots, work, layout)

    def _laid(self, quick: Mapping[int, Faster], effort: Effort) -> tuple[list[Slot], Layout]:
        """Lay out all buffers, among them the scratch memory of kernels in place of the chosen."""
        gone = {self._scratch_name(step) for step in quick}
        working = [buffer for buffer in self._working() if buffer.name not in gone]
        for step, kernel in quick.items():
            working += self._scratch(step, kernel.scratch, step, step)
        needed = [*self._maps(), *working]
        overlaps = [*self._layer_overlaps(), *self._map_overlaps(), *self._row_overlaps()]
        overlaps += self._drained({buffer.name: buffer.last for buffer in working})
        layout = solve(_problem(needed, overlaps, self.word), effort)
        offsets = (place * self.word for place in layout.offsets)
        return list(map(_slot, needed, offsets)), layout

    def _plan(self, slots: Sequence[Slot], work: int, layout: Layout) -> Plan:
        macs, word = sum(self._macs(segment) for segment in self.segments), self.word
        return Plan(
            graph_hash(self.model),
            self.isa.name.lower(),
            tuple(self._stage(segment) for segment in self.segments),
            tuple(slots),
            max([layout.extent * word, *(-(-slot.end // word) * word for slot in slots)]),
            layout.bound * word,
            macs,
            recomputed_macs=max(0, macs - self.model.macs),
            instructions=work - sum(kernel.saves for kernel in self.quick.values()),
            repeats=self.repeats,
        )

    def _stage(self, segment: Segment) -> Stage:
        stream = segment.stream
        if stream is None:
            node = self.order[segment.first]
            return LayerStage(node.name, self._kernel(segment.first, self.work[node.name].kernel))
        works = stream.works
        names = tuple(work.node.name for work in works)
        steps = enumerate(works, segment.first)
        kernels = tuple(self._kernel(step, work.kernel) for step, work in steps)
        return StreamStage(
            stream.feed, names, kernels, stream.stores, *stream.grid, blocks=stream.blocks
        )

    def _kernel(self, step: int, chosen: str) -> str:
        return self.quick[step].kernel if step in self.quick else chosen

    def _macs(self, segment: Segment) -> int:
        if segment.stream is not None:
            return sum(tile.macs for tile in segment.stream.tiles)
        node = self.order[segment.first]
        return node.op.macs(self.graph.operands(node))

    def _instructions(self, segment: Segment) -> int:
        if segment.stream is not None:
            return segment.stream.instructions
        return self.work[self.order[segment.first].name].instructions

    def _maps(self) -> list[Buffer]:
        """Return the buffers of tensors that are whole at some time."""
        streams = (segment.stream for segment in self.segments)
        inside = {store.tensor for stream in streams if stream for store in stream.stores}
        spans = [(s.first, s.end - 1) for s in self.segments for _ in range(s.first, s.end)]
        found = buffers(self.graph, self.work, self.order, spans)
        return [buffer for buffer in found if buffer.name not in inside]

    def _working(self) -> Iterator[Buffer]:
        """Yield scratch memory, rings and fresh rows."""
        for segment in self.segments:
            stream = segment.stream
            if stream is None:
                size = self.work[self.order[segment.first].name].scratch_bytes
                yield from self._scratch(segment.first, size, segment.first, segment.first)
                continue
            for index, work in enumerate(stream.works):
                step = segment.first + index
                span = (segment.first, segment.end - 1) if work.folds else (step, step)
                yield from self._scratch(step, stream.scratch(index), *span)
            yield from self._rows(segment, stream)

    def _scratch(self, step: int, size: int, first: int, last: int) -> Iterator[Buffer]:
        if size:
            yield Buffer(self._scratch_name(step), (), size, first, last)

    def _scratch_name(self, step: int) -> str:
        return f"{self.order[step].name}.scratch"

    def _rows(self, segment: Segment, stream: Streaming) -> Iterator[Buffer]:
        flow, stores = stream.flow, {store.tensor: store for store in stream.stores}
        shift = segment.end - len(flow.workers)  # a feed shares the first node's step
        release = _release(flow, stores)
        sizes = zip(stream.row_sizes, stream.step_sizes, strict=True)
        for position, (size, step) in enumerate(sizes):
            if (store := stores.get(flow.workers[position].output.name)) is None:
                continue
            if store.ring:
                ring = store.ring * size
                yield Buffer(f"{store.tensor}.ring", (), ring, segment.first, segment.end - 1)
            if store.fresh:
                start = max(segment.first, position + shift)
                last = max(start, release[position] + shift)
                yield Buffer(f"{store.tensor}.fresh", (), step, start, last)

    def _layer_overlaps(self) -> Iterator[_Overlap]:
        for segment in self.segments:
            step, node = segment.first, self.order[segment.first]
            if segment.stream is None:
                for name, distance in self.work[node.name].overlaps.items():
                    upper, lower = self.root[name], self.root[node.outputs[0]]
                    yield _Overlap(upper, lower, step, step, distance)

    def _map_overlaps(self) -> Iterator[_Overlap]:
        """Yield whole maps that a stream reads and that its whole outputs and rings may run over.

        Where there are several tiles, each reads the maps again.
        """
        for segment in self.segments:
            stream = segment.stream
            if stream is None or len(stream.tiles) > 1:
                continue
            flow, stores = stream.flow, {store.tensor: store for store in stream.stores}
            steps = segment.first, segment.end - 1
            for position, worker in enumerate(flow.workers):
                lower, store = worker.output, stores.get(worker.output.name)
                rows = store.ring if store else row_count(lower)
                for name in flow.lows[position] if rows else ():
                    upper = self.graph.tensors[name]
                    distance = flow.distance(upper, position, store.ring if store else 0)
                    if upper.dtype == lower.dtype and distance < rows * row_bytes(lower):
                        over = f"{lower.name}.ring" if store else lower.name
                        yield _Overlap(self.root[name], over, *steps, distance)

    def _drained(self, last: Mapping[str, int]) -> Iterator[_Overlap]:
        """Yield what dies before the last rows of a whole output are made, which may lie there.

        Args:
            last: the last step of rings, fresh rows and scratch memory.
        """
        for segment in self.segments:
            stream = segment.stream
            if stream is None or len(stream.tiles) > 1:
                continue
            inside = {store.tensor for store in stream.stores}
            for position, worker in enumerate(stream.flow.workers):
                whole = worker.output
                if whole.name in inside or whole.dtype not in BYTES:
                    continue
                for name, time in _ends(stream.flow):
                    covered = stream.flow.covered(position, time)
                    if name in last and covered < whole.nbytes:
                        yield _Overlap(name, whole.name, segment.first, last[name], covered)

    def _row_overlaps(self) -> Iterator[_Overlap]:
        """Yield fresh rows that an elementwise node may overwrite with its own fresh row.

        With a ring behind it, the fresh row is newer than the one that the node reads.
        """
        for segment in self.segments:
            stream = segment.stream
            if stream is None:
                continue
            fresh = {store.tensor for store in stream.stores if store.fresh}
            passing = fresh - {store.tensor for store in stream.stores if store.ring}
            for step, work in enumerate(stream.works, segment.first):
                for name, distance in stream.passes(step - segment.first).items():
                    if name in passing and work.output.name in fresh:
                        names = f"{name}.fresh", f"{work.output.name}.fresh"
                        yield _Overlap(*names, step, step, distance)


def _ends(flow: Flow) -> Iterator[tuple[str, int]]:
    """Yield the possible working buffers of a stream, and when each is used for the last time."""
    for position, worker in enumerate(flow.workers):
        yield f"{worker.output.name}.ring", flow.used[position]
        yield f"{worker.output.name}.fresh", flow.used[position]
        if isinstance(worker, RowWork):
            yield f"{worker.node.name}.scratch", flow.turns[position][-1]


def _release(flow: Flow, stores: Mapping[str, RowStore]) -> list[int]:
    """Return per position the last one that needs its newest row where it was made."""
    found = list(flow.last_reader)
    place = {worker.output.name: i for i, worker in enumerate(flow.workers)}
    for store in stores.values():
        if store.host:
            host = place[store.host]
            found[host] = max(found[host], flow.last_reader[place[store.tensor]])
    return found


def _problem(needed: Sequence[Buffer], overlaps: Sequence[_Overlap], word: int) -> Problem:
    """State the layout problem in words of so many bytes."""
    index = {buffer.name: i for i, buffer in enumerate(needed)}
    pairs: dict[tuple[int, int], int] = {}
    for overlap in overlaps:
        upper, lower = index[overlap.upper], index[overlap.lower]
        if needed[upper].last == overlap.last and needed[lower].first == overlap.first:
            distance = -(-overlap.distance // word)  # of the view that is read the slowest
            pairs[upper, lower] = max(distance, pairs.get((upper, lower), distance))
    return Problem(tuple(Block(-(-b.size // word), b.first, b.last) for b in needed), pairs)


def _slot(buffer: Buffer, offset: int) -> Slot:
    place = ARENA, offset, buffer.size, buffer.first, buffer.last
    return Slot(buffer.name, buffer.tensors, *place)
