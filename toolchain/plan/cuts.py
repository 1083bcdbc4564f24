"""Cuts: the layers and streams into which an order of execution may be split.

Every run of nodes that can work row by row may become a stream; its memory is estimated from one
run of the schedule per start. `toolchain.plan.passes` chooses among them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from toolchain.ir.graph import Graph, Node
from toolchain.kernels import Isa
from toolchain.kernels.cost import products
from toolchain.plan.assemble import Segment
from toolchain.plan.edges import Edge
from toolchain.plan.lifetimes import Work, kernel_works, roots, share_places
from toolchain.plan.overlap import as_close
from toolchain.plan.quicken import Faster, ladder
from toolchain.plan.rows import RowWork, named_row_work, row_work
from toolchain.plan.schedule import Feed, Worker
from toolchain.plan.starts import Starts
from toolchain.plan.streaming import stream
from toolchain.plan.strips import Strips, StripTracer
from toolchain.plan.tiles import Grid, Tiling, half_of, narrowed

_NARROW = 2  # pixels of a row that share too few weights
_BLOCKS = 1, 2, 3, 4, 5, 6  # rows of a step


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
        recompute: whether streams may be cut into strips, which compute halos several times.
        copies: names of the nodes that have been executed before (`toolchain.plan.repeats`).
        lean: whether stages are weighed with the kernels of least scratch memory; ``work`` should
            be prepared so, too.
        tick: called now and then; ends the search by an exception.
    """

    def __init__(
        self,
        graph: Graph,
        isa: Isa,
        work: Mapping[str, Work],
        order: Sequence[Node],
        *,
        fed: bool = False,
        recompute: bool = False,
        copies: frozenset[str] = frozenset(),
        lean: bool = False,
        tick: Callable[[], None] = lambda: None,
    ) -> None:
        self.lean, self._tick = lean, tick
        self.graph, self.isa, self.work, self.order = graph, isa, work, order
        self.copies = copies
        self.root = roots(graph, work)
        self.rows = [row_work(graph, node, isa, lean=lean) for node in order]
        self.values = self._values()
        self.fed = fed and self._can_feed()
        self.recompute = recompute
        self._tracer = StripTracer(graph, self.rows, {v.name: v.last for v in self.values})
        self._strips: dict[int, list[Strips]] = {}
        self._blocks: dict[tuple[int, int], RowWork | None] = {}
        self._halves: dict[int, tuple[int, int, int]] = {}

    @cached_property
    def edges(self) -> list[Edge]:
        """Return all stages there may be, in order of their first step."""
        return [self._with_repeats(edge) for edge in self._edges()]

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

    def _with_repeats(self, edge: Edge) -> Edge:
        """Return ``edge`` with the work of nodes that have been executed before."""
        nodes = [n for n in self.order[edge.first : edge.end] if n.name in self.copies]
        if not nodes:
            return edge
        macs = sum(node.op.macs(self.graph.operands(node)) for node in nodes)
        work = edge.work + products(macs, self.isa)
        return replace(edge, work=work, macs=edge.macs + macs, repeats=True)

    def _edges(self) -> list[Edge]:
        edges: list[Edge] = []
        starts = self._narrow_steps()
        for step in range(len(self.order)):
            self._tick()
            feeds = self.fed and step == 0  # then the first stage must be a stream
            if not feeds:
                edges += self._layers(step)
            if step in starts and self.rows[step] is not None:
                every = set(range(len(self.order) + 1))
                for block in self.blocks:
                    edges.extend(Starts(self, step, block).edges(every if feeds else starts))
        return edges

    def strips(self, end: int) -> list[Strips]:
        """Return the strips of streams that end before step ``end``, none if nothing repeats."""
        if not self.recompute:
            return []
        if end not in self._strips:
            self._strips[end] = self._tracer.ending(end)
        return self._strips[end]

    def scratch(self, step: int, strips: Strips | None) -> tuple[int, bool]:
        """Return the scratch memory of a node, and whether it lasts as long as the stream."""
        work = self.rows[step]
        assert work is not None
        whole = work.special.scratch_bytes
        if not whole or work.folds or strips is None:
            return whole, work.folds
        width, half, halved = self._halved(step, work)
        slope = (whole - halved) / max(1, width - half)
        return int(halved + slope * (strips.widths[work.output.name] - half)), False

    def _halved(self, step: int, work: RowWork) -> tuple[int, int, int]:
        """Return columns of the output, those of a half, and the scratch memory of that half."""
        if step not in self._halves:
            width = work.output.shape[2]
            part = narrowed(work.node, work.operands, half_of(work.output))
            found = named_row_work(*part, work.kernel) if part else None
            half = found or work
            self._halves[step] = width, half.output.shape[2], half.special.scratch_bytes
        return self._halves[step]

    def _narrow_steps(self) -> set[int]:
        """Return the steps before which no more bytes are alive than before their neighbours.

        A fold that multiplies takes more work than its layer and sums of 32 bits per output: there
        a stream may end, too.
        """
        count = len(self.order)
        alive = [
            sum(v.size for v in self.values if v.made < step <= v.last) for step in range(count + 1)
        ]
        inner = {
            s for s in range(1, count) if alive[s] <= alive[s - 1] and alive[s] <= alive[s + 1]
        }
        folds = {
            step
            for step, work in enumerate(self.rows)
            if work and work.folds and work.node.op.macs(work.operands)
        }
        return inner | folds | {0, count}

    def faster(
        self, segments: Sequence[Segment], work: Mapping[str, Work]
    ) -> dict[int, tuple[Faster, ...]]:
        """Return the kernels by step that are faster than the lean ones.

        Args:
            segments: the stages.
            work: what nodes need as layers.
        """
        found: dict[int, tuple[Faster, ...]] = {}
        for segment in segments:
            if segment.stream is not None:
                found |= dict(enumerate(segment.stream.faster, segment.first))
                continue
            node = self.order[segment.first]
            old, ways = work[node.name], [*kernel_works(self.graph, node, self.isa)]
            found[segment.first] = ladder(
                [
                    Faster(new.kernel, new.scratch_bytes, old.instructions - new.instructions)
                    for new in ways[:-1]
                    if as_close(new.overlaps, old.overlaps)
                    and old.homes == new.homes
                    and old.in_place == new.in_place
                ]
            )
        return {step: kernels for step, kernels in found.items() if kernels}

    def _layers(self, step: int) -> Iterator[Edge]:
        """Yield a node at once, and with its output on its input if that saves memory."""
        name = self.order[step].name
        work, placed = self.work[name], self.placed[name]
        alive = [v for v in self.values if v.made <= step <= v.last]
        saved = [
            v.size + y.size - max(v.size + distance, y.size)
            for y in alive
            if y.made == step
            for name, distance in work.overlaps.items()
            for v in alive
            if v.name == self.root[name] and v.last == step and v.made < step
        ]
        every = sum(v.size for v in alive)
        need = every + work.scratch_bytes - max([0, *saved])
        made = sum(v.size for v in alive if v.made == step)
        least = every + work.scratch_bytes - min(made, sum(saved))
        yield Edge(step, step + 1, stream=False, need=need, least=least, work=0)
        if placed is not work:
            shared = every + placed.scratch_bytes - placed.operands.output.nbytes
            if shared < need:
                dearer = self.dearer(step, placed.instructions)
                yield Edge(step, step + 1, False, shared, shared, dearer, in_place=True)

    def dearer(self, step: int, instructions: int) -> int:
        """Return how many more instructions these are than those of a node as a layer, if known."""
        plain = self.work[self.order[step].name].instructions
        return instructions - plain if instructions and plain else 0

    @cached_property
    def placed(self) -> Mapping[str, Work]:
        """Return what each node needs with its output on its input, where that is possible."""
        return share_places(self.graph, self.isa, self.work)

    def alive(self, step: int) -> frozenset[str]:
        """Return the whole tensors that are needed before and from ``step`` on."""
        return frozenset(v.name for v in self.values if v.made < step <= v.last)

    def run(self, step: int, block: int = 1) -> list[Worker]:
        """Return the longest run of row by row workers from ``step``, a feed included.

        Args:
            step: the first.
            block: rows that nodes make in a step where they can, and where they find their inputs
                so, too.
        """
        workers: list[Worker] = []
        if step == 0 and self.fed:
            workers.append(Feed(self.graph.input_tensors[0]))
        for number, work in enumerate(self.rows[step:], step):
            if work is None:
                break
            made = {worker.output.name: worker.block for worker in workers}
            found = self._blocked(number, block) if block > 1 else None
            apart = found and any(
                made.get(need.tensor, block) % found.side_by_side for need in found.needs
            )
            workers.append(work if found is None or apart else found)
        return workers

    def _blocked(self, step: int, block: int) -> RowWork | None:
        """Return a node ready to make ``block`` rows in a step."""
        if (step, block) not in self._blocks:
            node = self.order[step]
            self._blocks[step, block] = row_work(
                self.graph, node, self.isa, lean=self.lean, block=block
            )
        return self._blocks[step, block]

    @cached_property
    def blocks(self) -> tuple[int, ...]:
        """Return the rows per step that are worth a try: more than one if most rows are narrow."""
        works = [work for work in self.rows if work is not None and not work.folds]
        narrow = [w for w in works if w.rows > 1 and w.output.shape[2] <= _NARROW]
        gains = self.isa is Isa.DSP and 2 * len(narrow) > len(works)  # others share no weights
        return _BLOCKS if gains else _BLOCKS[:1]

    def _stream(self, edge: Edge, limit: int) -> Segment:
        nodes = tuple(self.order[edge.first : edge.end])
        inside = frozenset(v.name for v in self.inner(edge.first, edge.end))
        feed = self.graph.inputs[0] if self.fed and edge.first == 0 else ""
        for columns in (edge.columns, 1):
            tiling = Tiling(self.graph, nodes, Grid(1, columns), inside, feed, edge.blocks)
            spare = max(0, limit - edge.need)
            if (found := stream(tiling, self.isa, spare, lean=self.lean)) is not None:
                return Segment(edge.first, edge.end, found)
        raise AssertionError("every run of row by row nodes can be a stream")

    def inner(self, first: int, end: int) -> list[_Value]:
        """Return the tensors that a stream of steps ``[first, end)`` need not keep whole."""
        least = -1 if first == 0 and self.fed else first
        return [v for v in self.values if v.made >= least and v.last < end and not self._folded(v)]

    def _folded(self, value: _Value) -> bool:
        """Tell whether a fold makes this value: it is whole even inside a stream."""
        work = self.rows[value.made] if value.made >= 0 else None
        return work is not None and work.folds
