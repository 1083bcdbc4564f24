"""The checker: is this plan right for this graph? It knows nothing of how a plan was made.

It executes the plan on a shadow of the arena in which every byte carries the tensor that owns it.
A node may only read bytes that its input still owns, and what it writes changes owner. Where an
output runs over an input, the node is executed slice by slice, as a kernel that works in order
does. So whatever the planner's reasoning was, a byte that is overwritten too early is found when
it is read, with its range and both tensors.
"""

from __future__ import annotations

import numpy as np

from toolchain.errors import FitError
from toolchain.ir.graph import Graph, Node, Operands
from toolchain.ir.tensor import Tensor
from toolchain.kernels import Isa, Specialised, kernel_named
from toolchain.ops.base import Lowered
from toolchain.plan.moments import Span, moments
from toolchain.plan.plan import Plan, Slot, graph_hash

_MAX_ARENA = 2**31


def check_plan(graph: Graph, plan: Plan) -> Plan:
    """Check ``plan`` against ``graph`` and return it unchanged.

    Raises:
        FitError: E303 with the byte range and the two tensors concerned where live bytes would be
            overwritten, or with the node or slot that is missing, misplaced or unknown; E302 if
            the plan was made for another graph.
    """
    if plan.graph_hash != graph_hash(graph):
        raise FitError("E302", "this plan was made for another model", hints=["tessera plan MODEL"])
    _Shadow(graph, plan).run()
    return plan


class _Shadow:
    def __init__(self, graph: Graph, plan: Plan) -> None:
        self.graph, self.plan = graph, plan
        if not 0 <= plan.arena_bytes < _MAX_ARENA:
            raise _wrong(f"an arena of {plan.arena_bytes} bytes is not possible")
        if plan.isa.upper() not in Isa.__members__:
            raise _wrong(f'there is no instruction set "{plan.isa}"')
        self.slots = self._slots()
        self.owner = np.zeros(plan.arena_bytes, np.int32)
        self.values = ["nothing"]  # by owner number
        self.alive: dict[str, int] = {}  # owner number of each tensor made so far
        self.step = 0

    def run(self) -> None:
        for tensor in self.graph.input_tensors:
            self._write(self._span(tensor))
        nodes = {node.name: node for node in self.graph.nodes}
        for step, stage in enumerate(self.plan.stages):
            self.step = step
            if stage.node not in nodes:
                raise _wrong("no such node, or it is executed twice", f'stage "{stage.node}"')
            self._execute(nodes.pop(stage.node), stage.kernel)
        if nodes:
            raise _wrong("the plan leaves out this node", f'node "{next(iter(nodes))}"')
        self.step = len(self.plan.stages)
        for tensor in self.graph.output_tensors:
            self._require(tensor.name, "the network")
            self._read(self._span(tensor), "the caller")

    def _slots(self) -> dict[str, Slot]:
        found: dict[str, Slot] = {}
        for slot in self.plan.slots:
            if slot.offset < 0 or slot.size < 0 or slot.end > self.plan.arena_bytes:
                limit = f"the arena of {self.plan.arena_bytes} bytes"
                raise _wrong(
                    f"bytes {slot.offset} to {slot.end} leave {limit}", f'slot "{slot.name}"'
                )
            for name in slot.tensors or (slot.name,):
                if name in found:
                    raise _wrong("two slots hold this", f'tensor "{name}"')
                found[name] = slot
        return found

    def _execute(self, node: Node, kernel: str) -> None:
        operands = self.graph.operands(node)
        lowered = node.op.lower(operands)
        for tensor in operands.activations:
            self._require(tensor.name, f'node "{node.name}"')
        if not lowered.kernel:
            self._view(operands)
            return
        special = self._kernel(node, kernel, lowered)
        scratch = self._scratch(node, special)
        for moment in moments(
            operands,
            node.op.windows(operands),
            tuple(self._span(tensor) for tensor in operands.activations),
            tuple(self._span(tensor) for tensor in operands.outputs),
            in_order=special.in_order,
        ):
            for span in moment.reads:
                self._read(span, f'node "{node.name}"')
            for span in (*scratch, *moment.writes):
                self._write(span)
            for span in (*scratch, *moment.keeps):
                self._read(span, f'node "{node.name}"')
        for tensor in operands.outputs:
            self._read(self._span(tensor), f'node "{node.name}"')

    def _kernel(self, node: Node, name: str, lowered: Lowered) -> Specialised:
        try:
            kernel = kernel_named(name, lowered)
        except KeyError:
            raise _wrong(f'no kernel "{name}" can run it', f'node "{node.name}"') from None
        if kernel.isa > Isa[self.plan.isa.upper()]:
            raise _wrong(f'kernel "{name}" does not run on "{self.plan.isa}"', node.name)
        return kernel.specialise(lowered)

    def _view(self, operands: Operands) -> None:
        source, view = self._span(operands.input(0)), self._span(operands.output)
        if view.low != source.low:
            raise _wrong(
                f'must stay at byte {source.low}, where "{source.value}" lies, not at {view.low}',
                f'tensor "{view.value}"',
            )
        self._read(source, f'tensor "{view.value}"')
        self.alive[view.value] = self.alive[source.value]

    def _scratch(self, node: Node, special: Specialised) -> tuple[Span, ...]:
        name = f"{node.name}.scratch"
        if not special.scratch_bytes:
            return ()
        slot = self.slots.get(name)
        if slot is None or slot.size < special.scratch_bytes:
            raise _wrong(f"needs {special.scratch_bytes} bytes", f'slot "{name}"')
        return (Span(name, slot.offset, slot.offset + special.scratch_bytes),)

    def _span(self, tensor: Tensor) -> Span:
        slot = self.slots.get(tensor.name)
        where = f'tensor "{tensor.name}"'
        if slot is None:
            raise _wrong("no slot holds this", where)
        if slot.size < tensor.nbytes:
            raise _wrong(f"needs {tensor.nbytes} bytes, its slot has {slot.size}", where)
        if slot.offset % tensor.dtype.itemsize:
            raise _wrong(f"byte {slot.offset} is not aligned for {tensor.dtype.value}", where)
        if not slot.first <= self.step <= slot.last:
            raise _wrong(
                f"is used in step {self.step}, but lives from {slot.first} to {slot.last}", where
            )
        return Span(tensor.name, slot.offset, slot.offset + tensor.nbytes)

    def _require(self, name: str, reader: str) -> None:
        if name not in self.alive:
            raise _wrong(f'reads "{name}" before it is made', reader)

    def _write(self, span: Span) -> None:
        if span.value not in self.alive:
            self.alive[span.value] = len(self.values)
            self.values.append(span.value)
        self.owner[span.low : span.high] = self.alive[span.value]

    def _read(self, span: Span, reader: str) -> None:
        owners = self.owner[span.low : span.high]
        lost = np.flatnonzero(owners != self.alive[span.value])
        if lost.size:
            thief = self.values[owners[lost[0]]]
            low, high = span.low + int(lost[0]), span.low + int(lost[-1]) + 1
            raise _wrong(
                f'bytes {low} to {high} of "{span.value}" are overwritten by "{thief}" '
                "while they are needed",
                reader,
            )


def _wrong(what: str, where: str | None = None) -> FitError:
    return FitError("E303", what, where=where)
