"""Streams for the C templates: where rows lie, when a node can make its next one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from codegen.arenas import arena_of
from codegen.call import Call
from toolchain.ir.graph import Graph
from toolchain.ir.tensor import Tensor
from toolchain.plan.plan import ARENA, Slot, StreamStage
from toolchain.plan.rows import RowNeed, RowWork, row_bytes
from toolchain.plan.schedule import Feed, Stream, straight
from toolchain.plan.tiles import Tile


@dataclass(frozen=True)
class Rows:
    """Where the rows of a tensor lie.

    Attributes:
        ctype: C type of the elements.
        size: bytes from one row to the next.
        index: number of the tensor's counters ``made_<index>`` and ``kept_<index>``; empty for a
            map that was whole before the stream began.
        base: offset of the whole map or of the ring, ``None`` if there is only a fresh row.
        ring: rows of the ring, 0 if the map is whole.
        fresh: offset of the fresh row, ``None`` if there is none.
        stride: rows of the ring from one row to the next; more than 1 only for guests.
        shift: rows of the ring before row 0.
        at: C parameter that says where in the whole map a tile begins, empty at its start.
        column: bytes from the start of a row to where the node's input begins.
        arena: the arena in which they lie.
        block: rows that are made in a step.
    """

    ctype: str
    size: int
    index: str
    base: int | None
    ring: int
    fresh: int | None
    stride: int = 1
    shift: int = 0
    at: str = ""
    column: int = 0
    arena: str = ARENA
    block: int = 1

    @property
    def moves(self) -> bool:
        """Tell whether rows move from a slot of their own to the ring."""
        return self.base is not None and self.fresh is not None

    @property
    def fixed(self) -> bool:
        """Tell whether every row lies at one place."""
        alone = self.base is None and self.block == 1
        return alone or (self.fresh is None and self.ring == 1)

    def place(self, row: str, *, first: bool = False) -> str:
        """Return the offset of ``row``, a C expression, maybe known as the first of a block."""
        if self.fresh is None:
            return self._in_row(self._in_base(row))
        fresh = str(self.fresh)
        if self.block > 1 and not first:
            fresh += f" + {row} % {self.block} * {self.size}"
        if self.base is None:
            return self._in_row(fresh)
        return self._in_row(f"({row} < kept_{self.index} ? {self._in_base(row)} : {fresh})")

    def in_ring(self, row: str) -> str:
        """Return the offset of ``row`` once it is in the ring."""
        return self._in_base(row)

    def _in_base(self, row: str) -> str:
        base = f"{self.base} + {self.at}" if self.at else str(self.base)
        if self.ring == 1:
            return base
        place = row if self.stride == 1 else f"{row} * {self.stride}"
        place = f"({place} + {self.shift})" if self.shift else place
        wrapped = f"{place} % {self.ring}" if self.ring else place
        return f"{base} + {wrapped} * {self.size}"

    def _in_row(self, place: str) -> str:
        return f"{place} + {self.column}" if self.column else place

    def pointer(self, row: str, *, const: bool, first: bool = False) -> str:
        """Return the address of ``row``, maybe known as the first of a block."""
        place = self.place(row, first=first)
        return f"({'const ' if const else ''}{self.ctype} *)({self.arena} + {place})"


@dataclass(frozen=True)
class Step:
    """A node of a stream.

    Attributes:
        index: number of its counters.
        call: the function and its constant arguments.
        output: where its rows go.
        rows: rows to make.
        ready: C conditions, all of which must hold before the next row can be made.
        input: where the first activation's rows lie.
        down: the row of it at which the node's own input begins.
        sources: addresses of the input rows, for kernels without taps.
        moved: outputs of earlier nodes whose fresh row this node is the last to read.
        form: ``"rows"`` if the function sees the rows of a map through pointers, ``"single"`` if it
            sees single rows, ``"fold"`` if it takes a row and makes the whole output in the end.
        turn: number of a fold's call, a C expression.
    """

    index: str
    call: Call
    output: Rows
    rows: int
    ready: tuple[str, ...]
    input: Rows
    down: int
    sources: tuple[str, ...]
    moved: tuple[Rows, ...]
    form: str
    turn: str


@dataclass(frozen=True)
class Feeding:
    """The network's input, row by row: where the caller's rows go and how many there are.

    Attributes:
        output: where they go.
        rows: number of rows.
        columns: pixels of a row that are asked for.
    """

    output: Rows
    rows: int
    columns: int


@dataclass(frozen=True)
class CTile:
    """The rows of one tile; equal tiles are one C function.

    Attributes:
        steps: the nodes.
        feed: how the input comes row by row, ``None`` if it is whole.
    """

    steps: tuple[Step, ...]
    feed: Feeding | None

    @property
    def counters(self) -> tuple[str, ...]:
        """Return the names of all counters."""
        outputs = [step.output for step in self.steps]
        if self.feed is not None:
            outputs.append(self.feed.output)
        kept = [f"kept_{rows.index}" for rows in outputs if rows.moves]
        return (*(f"made_{rows.index}" for rows in outputs), *kept)


class TileLowering:
    """Resolve a tile's rows into C expressions.

    Args:
        graph: the graph.
        stage: the stream.
        tile: one of its tiles.
        calls: what each node calls.
        slots: all slots by tensor or name.
        ctypes: C type of each tensor, by name.
        params: C parameters that place a tile, by tensor; calls before it for the output of a fold.
    """

    def __init__(
        self,
        graph: Graph,
        stage: StreamStage,
        tile: Tile,
        calls: Sequence[Call],
        slots: Mapping[str, Slot],
        ctypes: Mapping[str, str],
        params: Mapping[str, str],
    ) -> None:
        self.graph, self.tile, self.works, self.calls = graph, tile, tile.works, calls
        self.slots, self.ctypes, self.params = slots, ctypes, params
        self.stores = {store.tensor: store for store in stage.stores}
        self.index = {
            w.output.name: f"{call.index:02d}" for w, call in zip(self.works, calls, strict=True)
        }
        self.made = {worker.output.name: worker.output for worker in tile.workers}
        self.blocks = {worker.output.name: worker.block for worker in tile.workers}
        self.makers = {work.output.name: work for work in tile.works}
        if stage.feed:
            self.index[stage.feed] = "input"
        self.shift = len(tile.workers) - len(tile.works)  # a feed comes first
        self.folds = {work.output.name: work.rows for work in self.works if work.folds}
        place = {worker.output.name: i for i, worker in enumerate(tile.workers)}
        guests = {place[s.tensor]: place[s.host] for s in stage.stores if s.host}
        paces = {place[s.tensor]: place[s.pace] for s in stage.stores if s.pace}
        self.stream = Stream(tile.workers, frozenset(), guests, paces)

    def lower(self) -> CTile:
        """Return the tile's rows."""
        steps = tuple(self._step(i) for i in range(len(self.works)))
        feeds = [worker.output for worker in self.tile.workers if isinstance(worker, Feed)]
        feeding = [Feeding(self._rows(x), *x.shape[1:3]) for x in feeds]
        return CTile(steps, feeding[0] if feeding else None)

    def _step(self, position: int) -> Step:
        work, call = self.works[position], self.calls[position]
        index = self.index[work.output.name]
        outputs = [self._rows(tensor) for tensor in self._ends(position)]
        sources = tuple(self._input(work, i) for i in range(len(work.needs)))
        ready = [
            self._ready(work, call, need, tensor)
            for need, tensor in zip(work.needs, work.operands.activations, strict=True)
            if need.tensor in self.index and position + self.shift not in self.stream.paces
        ]
        ready += self._awaited(position)
        return Step(
            index,
            call,
            self._rows(work.output),
            work.rows,
            tuple(dict.fromkeys(ready)),
            sources[0],
            work.needs[0].low[0],
            tuple(self._source(work, i, rows) for i, rows in enumerate(sources)),
            tuple(rows for rows in outputs if rows.moves),
            "fold" if work.folds else "single" if work.single else "rows",
            self._turn(work),
        )

    def _turn(self, work: RowWork) -> str:
        made, before = f"made_{self.index[work.output.name]}", self.params.get(work.output.name)
        return f"{before} + {made}" if work.folds and before else made

    def _ends(self, position: int) -> list[Tensor]:
        """Return the tensors whose newest row may move when ``position`` has made a row."""
        released = self.stream.released(position + self.shift)
        return [self.stream.workers[source].output for source in released]

    def _awaited(self, position: int) -> list[str]:
        """Return the conditions under which a node runs in pace with another."""
        found, row = [], f"made_{self.index[self.works[position].output.name]}"
        for source, rows in self.stream.awaited(position + self.shift):
            worker = self.stream.workers[source]
            line = straight(rows, worker.rows)
            assert line is not None, "a checked plan"
            made = f"made_{self.index[worker.output.name]}"
            found.append(_reached(made, row, *line, len(rows), worker.rows))
        return found

    def _rows(self, part: Tensor) -> Rows:
        """Return where the rows lie of a tensor of which the tile has a part."""
        name, index = part.name, self.index.get(part.name, "")
        ctype, store = self.ctypes[name], self.stores.get(name)
        if store is None:
            at = "" if name in self.folds else self.params.get(name, "")
            pitch = row_bytes(self.graph.tensors[name])
            slot = self.slots[name]
            block, arena = self.blocks.get(name, 1), arena_of(slot.region)
            whole = Rows(ctype, pitch, index, slot.offset, 0, None, at=at, arena=arena)
            return replace(whole, block=block)
        if store.host:
            return self._guest(self.makers[name], index)
        ring = self.slots[f"{name}.ring"] if store.ring else None
        fresh = self.slots[f"{name}.fresh"] if store.fresh else None
        (region,) = {slot.region for slot in (ring, fresh) if slot}  # a checked plan
        places = ring.offset if ring else None, store.ring, fresh.offset if fresh else None
        size, arena = row_bytes(self.made[name]), arena_of(region)
        return Rows(ctype, size, index, *places, arena=arena, block=self.blocks[name])

    def _guest(self, work: RowWork, index: str) -> Rows:
        """Return where the rows of ``work`` lie: one at a time on the ring it reads."""
        host, taps = self._rows(work.operands.input(0)), work.special.taps
        assert taps is not None, "a checked plan"
        ctype, shift = self.ctypes[work.output.name], work.first_row(0) % host.ring
        base = host.base, host.ring, None
        return Rows(ctype, host.size, index, *base, taps.stride, shift, arena=host.arena)

    def _input(self, work: RowWork, i: int) -> Rows:
        """Return where the rows of one input lie, from the column at which the node begins."""
        need, part = work.needs[i], work.operands.activations[i]
        rows = self._rows(part)
        pixel = row_bytes(part) // part.shape[2]
        return replace(rows, column=need.column * pixel)

    def _ready(self, work: RowWork, call: Call, need: RowNeed, part: Tensor) -> str:
        """Return the condition under which the rows of one input are there."""
        made, row = f"made_{self.index[part.name]}", f"made_{self.index[work.output.name]}"
        if part.name in self.folds:
            return f"{made} == {self.folds[part.name]}"
        count, taps = self.made[part.name].shape[1], work.special.taps
        down, more = need.low[0], work.block - 1
        if work.single or taps is None:
            ahead = f"{row} + {down + more}" if down + more else row
            return f"{made} > {ahead}" if part.shape[1] > 1 else f"{made} > {down}"
        if taps.lines:
            line = call.extras_of(f"({row} + {more})" if more else row)[0]
            return f"{made} > ({line})[{taps.count - 1}]"
        ahead_rows = (taps.count - 1) * taps.dilation + 1 - taps.pad + down
        last = ahead_rows + more * taps.stride
        return _reached(made, row, taps.stride, last, work.rows - more, count)

    def _source(self, work: RowWork, i: int, rows: Rows) -> str:
        need, part = work.needs[i], work.operands.activations[i]
        down, made = need.low[0], f"made_{self.index[work.output.name]}"
        row = f"({made} + {down})" if down else made
        first = work.block % rows.block == 0
        return rows.pointer(row if part.shape[1] > 1 else str(down), const=True, first=first)


def _reached(made: str, row: str, slope: int, start: int, rows: int, count: int) -> str:
    """Return the condition that ``slope * row + start`` rows are made, or all there are.

    Args:
        made: C expression, rows made.
        row: C expression, the row that waits.
        slope: rows more from row to row.
        start: rows that the first row needs.
        rows: number of rows that wait.
        count: number of rows to make.
    """
    scaled = row if slope == 1 else f"{row} * {slope}"
    reached = f"{made} >= {scaled} {'-' if start < 0 else '+'} {abs(start)}"
    return f"({reached} || {made} == {count})" if slope * (rows - 1) + start > count else reached
