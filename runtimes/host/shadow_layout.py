"""What the shadow of the generated C must know: who may write and read which bytes, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from codegen.call import Call
from toolchain.ir.graph import Graph, Operands
from toolchain.ir.tensor import Tensor
from toolchain.plan.plan import LayerStage, Plan, Slot, Stage, StreamStage, stage_nodes
from toolchain.plan.rows import RowWork, named_row_work
from toolchain.plan.staging import slot_name


@dataclass
class Layout:
    """The tables of ``shadow.c``, row by row.

    ``copies`` are the staged constants: table, bytes, where they go, which call reads them, and the
    last call of their stage.
    """

    graph: Graph
    plan: Plan
    calls: Sequence[Call]
    names: list[str] = field(default_factory=list)
    nodes: list[tuple[int, ...]] = field(default_factory=list)
    places: list[tuple[int, ...]] = field(default_factory=list)
    needs: list[tuple[int, ...]] = field(default_factory=list)
    moves: list[tuple[int, ...]] = field(default_factory=list)
    copies: list[tuple[str, int, int, int, int]] = field(default_factory=list)
    low: list[int] = field(default_factory=list)
    high: list[int] = field(default_factory=list)
    window: int = 1

    def __post_init__(self) -> None:
        self.slots = {name: slot for slot in self.plan.slots for name in slot.tensors}
        self.named = {slot.name: slot for slot in self.plan.slots}
        streams = [stage for stage in self.plan.stages if isinstance(stage, StreamStage)]
        self.hosts = {s.tensor: s.host for stage in streams for s in stage.stores if s.host}
        self.roots = self._roots()
        self.tensors = sorted(set(self.roots.values()))
        numbers = {name: number for number, name in enumerate(self.tensors)}
        self.ids = {name: numbers[root] for name, root in self.roots.items()}
        stages = {n: s for s in self.plan.stages for n in stage_nodes(s)}
        nodes = {node.name: node for node in self.graph.nodes}
        for call in self.calls:
            self.names.append(call.node)
            node, stage = nodes[call.node], stages[call.node]
            operands = self.graph.operands(node)
            work = None
            if isinstance(stage, StreamStage) and stage.tiles == 1:
                kernel = stage.kernels[stage.nodes.index(node.name)]
                work = named_row_work(node, operands, kernel)
            self._node(node.name, operands, work, streamed=isinstance(stage, StreamStage))
        self._moves()
        self._copies([stages[name] for name in self.names])

    def _roots(self) -> dict[str, str]:
        """Return for each activation the tensor that its bytes are written as."""
        found: dict[str, str] = {}
        for slot in self.plan.slots:
            for name in slot.tensors:
                found[name] = name
        for name, tensor in self.graph.tensors.items():
            if not tensor.is_constant:
                found.setdefault(name, name)
        silent = {s.node for s in self.plan.stages if isinstance(s, LayerStage) and not s.kernel}
        for node in self.graph.nodes:
            if node.name in silent and node.inputs[0] is not None:
                for name in node.outputs:
                    found[name] = found[node.inputs[0]]
        return found

    def _node(self, name: str, operands: Operands, work: RowWork | None, *, streamed: bool) -> None:
        places, needs = len(self.places), len(self.needs)
        rows = work is not None and not work.folds
        for tensor in operands.outputs:
            size = 0 if rows else 1 << 30 if streamed and work is None else row_bytes(tensor)
            for slot in self._slots_of(tensor.name):
                self.places.append((self.ids[tensor.name], slot.offset, slot.end, size))
        if work is None:
            for number in dict.fromkeys(self.ids[tensor.name] for tensor in operands.activations):
                self._need(number, [0], [1 << 30], 0)
        else:
            self._windows(work)
        scratch = self.named.get(f"{name}.scratch")
        sources = [slot for t in operands.activations for slot in self._slots_of(t.name)]
        span = (0, 0)
        if scratch and not any(s.offset < scratch.end and scratch.offset < s.end for s in sources):
            span = scratch.offset, scratch.end  # else what it writes is not its own
        calls = 1 if work is None else work.rows
        ends = (places, len(self.places), needs, len(self.needs))
        self.nodes.append((calls, *ends, *span))

    def _windows(self, work: RowWork) -> None:
        """Add the rows that each call needs; a tensor that is read twice counts once."""
        taps, found = work.special.taps, dict[int, tuple[list[int], list[int]]]()
        for need in work.needs:
            low = list(need.low)
            if taps is not None:
                low = [_first(work.first_row(y), taps.dilation) for y in range(work.rows)]
            before = found.get(self.ids[need.tensor], (low, list(need.high)))
            pairs = zip(before, (low, need.high), (min, max), strict=True)
            lows, highs = (list(map(best, old, new)) for old, new, best in pairs)
            found[self.ids[need.tensor]] = lows, highs
        # A dilated kernel may find none of the columns of a map that is narrower than its steps.
        across = getattr(work.node.op, "dilation", (1, 1))[1]
        wide = all(tensor.shape[2] >= across for tensor in work.operands.activations)
        step = 1 if taps is None else taps.dilation
        for number, (lows, highs) in found.items():
            self._need(number, lows, highs, step if wide else 0)

    def _need(self, tensor: int, low: list[int], high: list[int], step: int) -> None:
        self.needs.append((tensor, len(self.low), step))
        self.low += low
        self.high += high
        if step:
            self.window = max([self.window, *(b - a for a, b in zip(low, high, strict=True))])

    def _slots_of(self, tensor: str) -> list[Slot]:
        names = (tensor, f"{tensor}.fresh", f"{self.hosts.get(tensor, tensor)}.ring")
        found = [self.named[name] for name in names if name in self.named]
        return found or [self.slots[tensor]]

    def _moves(self) -> None:
        for name, number in self.ids.items():
            fresh, ring = (self.named.get(f"{name}.{kind}") for kind in ("fresh", "ring"))
            if fresh and ring:
                self.moves.append((number, fresh.offset, fresh.end, ring.offset, ring.end))

    def _copies(self, stages: Sequence[Stage]) -> None:
        """Add the constants that are staged, with the last call of their stage."""
        last = {stage: number for number, stage in enumerate(stages)}
        for number, call in enumerate(self.calls):
            for copy in call.copies:
                to = self.named[slot_name(call.node)].offset + copy.start
                self.copies.append((copy.table, copy.size, to, number, last[stages[number]]))


def _first(row: int, step: int) -> int:
    """Return the first row of a window that is not in the padding."""
    return row if row >= 0 else row % step


def row_bytes(tensor: Tensor) -> int:
    """Return the bytes of what counts as a row of a tensor."""
    rows = tensor.shape[1] if len(tensor.shape) == 4 and tensor.shape[0] == 1 else 1
    return max(1, tensor.nbytes // rows)
