"""Streams for the C templates: where rows lie, when a node can make its next one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from toolchain.ir.tensor import Tensor
from toolchain.plan.plan import Slot, StreamStage
from toolchain.plan.rows import RowWork, row_bytes
from toolchain.plan.schedule import Feed, Stream, Worker

if TYPE_CHECKING:
    from codegen.model import Call


@dataclass(frozen=True)
class Rows:
    """Where the rows of a tensor lie.

    Attributes:
        ctype: C type of the elements.
        size: bytes of a row.
        index: number of the tensor's counters ``made_<index>`` and ``kept_<index>``; empty for a
            map that was whole before the stream began.
        base: offset of the whole map or of the ring, ``None`` if there is only a fresh row.
        ring: rows of the ring, 0 if the map is whole.
        fresh: offset of the fresh row, ``None`` if there is none.
        stride: rows of the ring from one row to the next; more than 1 only for guests.
        shift: rows of the ring before row 0.
    """

    ctype: str
    size: int
    index: str
    base: int | None
    ring: int
    fresh: int | None
    stride: int = 1
    shift: int = 0

    @property
    def moves(self) -> bool:
        """Tell whether rows move from a slot of their own to the ring."""
        return self.base is not None and self.fresh is not None

    @property
    def fixed(self) -> bool:
        """Tell whether every row lies at one place."""
        return self.base is None or (self.fresh is None and self.ring == 1)

    def place(self, row: str) -> str:
        """Return the offset of ``row``, a C expression."""
        if self.base is None:
            return str(self.fresh)
        if self.fresh is None:
            return self._in_base(row)
        return f"({row} < kept_{self.index} ? {self._in_base(row)} : {self.fresh})"

    def in_ring(self, row: str) -> str:
        """Return the offset of ``row`` once it is in the ring."""
        return self._in_base(row)

    def _in_base(self, row: str) -> str:
        if self.ring == 1:
            return str(self.base)
        place = row if self.stride == 1 else f"{row} * {self.stride}"
        place = f"({place} + {self.shift})" if self.shift else place
        wrapped = f"{place} % {self.ring}" if self.ring else place
        return f"{self.base} + {wrapped} * {self.size}"

    def pointer(self, row: str, *, const: bool) -> str:
        """Return the address of ``row``."""
        return f"({'const ' if const else ''}{self.ctype} *)(arena + {self.place(row)})"


@dataclass(frozen=True)
class Step:
    """A node of a stream.

    Attributes:
        index: number of its counters.
        call: the function and its constant arguments.
        output: where its rows go.
        rows: rows to make.
        ready: C conditions, all of which must hold before the next row can be made.
        inputs: where each activation's rows lie.
        sources: addresses of the input rows, for kernels without taps.
        moved: outputs of earlier nodes whose fresh row this node is the last to read.
        form: ``"rows"`` if the function sees the rows of a map through pointers, ``"single"`` if it
            sees single rows, ``"fold"`` if it takes a row and makes the whole output in the end.
    """

    index: str
    call: Call
    output: Rows
    rows: int
    ready: tuple[str, ...]
    inputs: tuple[Rows, ...]
    sources: tuple[str, ...]
    moved: tuple[Rows, ...]
    form: str


@dataclass(frozen=True)
class Feeding:
    """The network's input, row by row: where the caller's rows go and how many there are."""

    output: Rows
    rows: int


@dataclass(frozen=True)
class CStream:
    """A stage of rows."""

    kind: ClassVar[str] = "stream"
    name: str
    first: str
    last: str
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


class StreamLowering:
    """Resolve a stream's rows into C expressions.

    Args:
        stage: the stream.
        works: its nodes.
        feed: the network's input if the caller hands it over row by row.
        calls: what each of them calls.
        slots: all slots by tensor or name.
        ctypes: C type of each tensor, by name.
    """

    def __init__(
        self,
        stage: StreamStage,
        works: Sequence[RowWork],
        feed: Tensor | None,
        calls: Sequence[Call],
        slots: Mapping[str, Slot],
        ctypes: Mapping[str, str],
    ) -> None:
        self.works, self.calls, self.slots, self.ctypes = works, calls, slots, ctypes
        self.stores = {store.tensor: store for store in stage.stores}
        self.index = {
            w.output.name: f"{call.index:02d}" for w, call in zip(works, calls, strict=True)
        }
        self.makers = {work.output.name: work for work in works}
        self.feed = feed
        if feed is not None:
            self.index[feed.name] = "input"
        self.folds = {work.output.name: work.rows for work in works if work.folds}
        workers: list[Worker] = [Feed(feed)] if feed is not None else []
        workers += works
        place = {worker.output.name: i for i, worker in enumerate(workers)}
        guests = {place[s.tensor]: place[s.host] for s in stage.stores if s.host}
        self.stream = Stream(workers, frozenset(), guests)

    def lower(self, name: str) -> CStream:
        """Return the stream under a C name."""
        steps = tuple(self._step(i) for i in range(len(self.works)))
        fed = self.feed
        feeding = None if fed is None else Feeding(self._rows(fed), fed.shape[1])
        return CStream(name, self.works[0].node.name, self.works[-1].node.name, steps, feeding)

    def _step(self, position: int) -> Step:
        work, call = self.works[position], self.calls[position]
        operands = work.operands.activations
        index = self.index[work.output.name]
        outputs = [self._rows(tensor) for tensor in self._ends(position)]
        return Step(
            index,
            call,
            self._rows(work.output),
            work.rows,
            tuple(dict.fromkeys(self._ready(work, t) for t in operands if t.name in self.index)),
            tuple(self._rows(tensor) for tensor in operands),
            tuple(self._source(tensor, index) for tensor in operands),
            tuple(rows for rows in outputs if rows.moves),
            "fold" if work.folds else "single" if work.single else "rows",
        )

    def _ends(self, position: int) -> list[Tensor]:
        """Return the tensors whose newest row may move when ``position`` has made a row."""
        reader = position + len(self.stream.workers) - len(self.works)
        return [self.stream.workers[source].output for source in self.stream.released(reader)]

    def _rows(self, tensor: Tensor) -> Rows:
        ctype, size = self.ctypes[tensor.name], row_bytes(tensor)
        index = self.index.get(tensor.name, "")
        store = self.stores.get(tensor.name)
        if store is None:
            return Rows(ctype, size, index, self.slots[tensor.name].offset, 0, None)
        if store.host:
            return self._guest(self.makers[tensor.name], index)
        ring = self.slots[f"{tensor.name}.ring"].offset if store.ring else None
        fresh = self.slots[f"{tensor.name}.fresh"].offset if store.fresh else None
        return Rows(ctype, size, index, ring, store.ring, fresh)

    def _guest(self, work: RowWork, index: str) -> Rows:
        """Return where the rows of ``work`` lie: one at a time on the ring it reads."""
        host, taps = self._rows(work.operands.input(0)), work.special.taps
        assert taps is not None, "a checked plan"
        ctype, shift = self.ctypes[work.output.name], -taps.pad % host.ring
        return Rows(ctype, host.size, index, host.base, host.ring, None, taps.stride, shift)

    def _ready(self, work: RowWork, tensor: Tensor) -> str:
        """Return the condition under which the rows of one input are there."""
        made, row = f"made_{self.index[tensor.name]}", f"made_{self.index[work.output.name]}"
        if tensor.name in self.folds:
            return f"{made} == {self.folds[tensor.name]}"
        count, taps = tensor.shape[1], work.special.taps
        if work.single or taps is None:
            return f"{made} > {row}" if count > 1 else f"{made} > 0"
        ahead = (taps.count - 1) * taps.dilation + 1 - taps.pad
        scaled = row if taps.stride == 1 else f"{row} * {taps.stride}"
        reached = f"{made} >= {scaled} {'-' if ahead < 0 else '+'} {abs(ahead)}"
        clipped = (work.rows - 1) * taps.stride + ahead > count
        return f"({reached} || {made} == {count})" if clipped else reached

    def _source(self, tensor: Tensor, index: str) -> str:
        row = f"made_{index}" if tensor.shape[1] > 1 else "0"
        return self._rows(tensor).pointer(row, const=True)
