"""The checker: is this plan right for this graph? It knows nothing of how a plan was made.

It executes the plan on a shadow of the arena in which every byte carries the value that owns it.
A node may only read bytes that its input still owns, and what it writes changes owner. Where an
output runs over an input, the node is executed slice by slice, as a kernel that works in order
does; a stream is executed row by row. So whatever the planner's reasoning was, a byte that is
overwritten too early is found when it is read, with its range and both values. Nodes that a plan
repeats are written out (`toolchain.plan.repeats`): each execution makes a value of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

from boards import Board
from toolchain.errors import FitError
from toolchain.ir.graph import Graph, Node, Operands
from toolchain.kernels import Isa, Specialised
from toolchain.ops.base import Lowered
from toolchain.plan.check_stream import StreamCheck
from toolchain.plan.hot import hot_bytes
from toolchain.plan.lowering import lower, specialise
from toolchain.plan.moments import Moment, Span, moments
from toolchain.plan.plan import (
    ARENA,
    LayerStage,
    Plan,
    Stage,
    StreamStage,
    graph_hash,
    stage_nodes,
)
from toolchain.plan.repeats import repeated
from toolchain.plan.shadow import Shadow, wrong
from toolchain.plan.staging import slot_name, stageable, staged


def check_plan(graph: Graph, plan: Plan, board: Board | None = None) -> Plan:
    """Check ``plan`` against ``graph`` and return it unchanged.

    Args:
        graph: the graph.
        plan: the plan.
        board: whose regions the slots name; their limits must hold. Without one the names and sizes
            of regions do not matter.

    Raises:
        FitError: E303 with the byte range and the two values concerned where live bytes would be
            overwritten, or with the node, slot or hot weights that are missing, misplaced or
            unknown; E305 if the plan was made for another graph.
    """
    if plan.graph_hash != graph_hash(graph):
        raise FitError("E305", "this plan was made for another model", hints=["tessera plan MODEL"])
    if plan.isa.upper() not in Isa.__members__:
        raise wrong(f'there is no instruction set "{plan.isa}"')
    if board is not None:
        if not Isa[board.isa.upper()].runs(Isa[plan.isa.upper()]):
            raise wrong(f'{board.id} has the instruction set "{board.isa}"', f'isa "{plan.isa}"')
        _check_regions(plan, board)
    _Check(repeated(graph, plan.repeats), plan, graph.macs).run()
    hot = hot_bytes(graph, plan)
    if board is not None:
        _check_hot(plan, hot, board)
    return plan


def _check_regions(plan: Plan, board: Board) -> None:
    """Refuse slots that leave their region; the largest is weighed by `toolchain.plan.fit`."""
    sizes = {block.name: block.size for block in board.ram_blocks[1:]}
    for slot in plan.slots:
        if slot.region != ARENA and slot.region not in sizes:
            names = ", ".join(f'"{name}"' for name in (ARENA, *sizes))
            what = f'{board.id} has no region "{slot.region}", only {names}'
            raise wrong(what, f'slot "{slot.name}"')
        if slot.region != ARENA and slot.end > sizes[slot.region]:
            room = f"the {sizes[slot.region]} bytes of {slot.region}"
            raise wrong(f"bytes {slot.offset} to {slot.end} leave {room}", f'slot "{slot.name}"')


def _check_hot(plan: Plan, hot: Mapping[str, int], board: Board) -> None:
    """Refuse hot weights that leave no room for the arena beside them."""
    sizes = {block.name: block.size for block in board.ram_blocks[1:]}
    for region, size in hot.items():
        used = plan.regions.get(region, 0)
        if region != ARENA and used + size > sizes.get(region, 0):
            what = f"{size} bytes of hot weights and {used} of the arena do not fit"
            raise wrong(f"{what} in the {sizes.get(region, 0)} of {region}", "hot")


class _Check:
    def __init__(self, graph: Graph, plan: Plan, plain: int) -> None:
        self.graph, self.plan, self.plain = graph, plan, plain
        self.isa = Isa[plan.isa.upper()]
        self.shadow = Shadow(plan)

    def run(self) -> None:
        for tensor in self.graph.input_tensors:
            if tensor.name != self._feed():
                self.shadow.write(self.shadow.span(tensor))
        for state in self.graph.states:
            self.shadow.write(self._lasting(state.read))
        nodes, macs = {node.name: node for node in self.graph.nodes}, 0
        for stage in self.plan.stages:
            taken = [nodes.pop(name, None) for name in stage_nodes(stage)]
            found = [node for node in taken if node is not None]
            if len(found) != len(taken) or not taken:
                raise wrong("no such node, or it is executed twice", str(stage_nodes(stage)))
            copies = self._staged(stage)
            if isinstance(stage, LayerStage):
                self._layer(found[0], stage.kernel)
                self.shadow.step += 1
                macs += found[0].op.macs(self.graph.operands(found[0]))
            else:
                stream = StreamCheck(self.graph, self.shadow, stage, found, self.isa)
                stream.run()
                macs += sum(tile.macs for tile in stream.tiles)
            for copy in copies:
                self.shadow.read(copy, "the stage")
        if nodes:
            raise wrong("the plan leaves out this node", f'node "{next(iter(nodes))}"')
        self._figures(macs)
        for tensor in self.graph.output_tensors:
            self.shadow.read(self.shadow.span(tensor), "the caller")
        for state in self.graph.states:
            span = self.shadow.span(self.graph.tensors[state.write])
            if span.low != self._lasting(state.read).low:
                raise wrong("is not written where it is read", f'state "{state.read}"')
            self.shadow.read(span, "the next inference")

    def _figures(self, macs: int) -> None:
        """Refuse figures that are not those of the stages that were executed."""
        plan, again = self.plan, max(0, macs - self.plain)
        if (plan.macs, plan.recomputed_macs) != (macs, again):
            raise wrong(f"executes {macs} multiply-accumulates, {again} of them again", "macs")
        if not 0 <= plan.lower_bound_bytes <= plan.arena_bytes:
            what = f"cannot be {plan.lower_bound_bytes} of an arena of {plan.arena_bytes}"
            raise wrong(what, "lower_bound_bytes")

    def _staged(self, stage: Stage) -> list[Span]:
        """Copy constants that are staged; nothing may overwrite them before the stage has ended."""
        copies, slots = [], {slot.name: slot for slot in self.plan.slots}
        try:
            sizes = dict(staged(self.graph, stage, slots))
        except (KeyError, AssertionError):
            return []  # no such kernel, which the stage's own check says better
        for name in stage_nodes(stage):
            if (slot := slots.get(slot_name(name))) is None:
                continue
            where = f'slot "{slot.name}"'
            if name not in sizes or not stageable(stage):
                raise wrong("no constants can be staged here", where)
            low = self.shadow.slot(slot.name, sizes[name], 4).offset
            if slot.last < self.shadow.step + len(stage_nodes(stage)) - 1:
                raise wrong("does not live as long as its stage", where)
            copies.append(Span(slot.name, low, low + sizes[name]))
            self.shadow.write(copies[-1])
        return copies

    def _lasting(self, name: str) -> Span:
        """Return where a state lies, in a slot that nothing else uses at any time."""
        tensor = self.graph.tensors[name]
        slot = self.shadow.slot(name, tensor.nbytes, tensor.dtype.itemsize)
        lasts = slot.first == 0 and slot.last >= sum(len(stage_nodes(s)) for s in self.plan.stages)
        if not lasts:
            raise wrong(f"lives from {slot.first} to {slot.last} only", f'state "{name}"')
        return self.shadow.span(tensor)

    def _feed(self) -> str:
        """Return the input that the caller hands over row by row, if any."""
        feeds = [s.feed for s in self.plan.stages[1:] if isinstance(s, StreamStage) and s.feed]
        if feeds:
            raise wrong("only the first stage can be fed by the caller", f'"{feeds[0]}"')
        first = self.plan.stages[0] if self.plan.stages else None
        feed = first.feed if isinstance(first, StreamStage) else ""
        if feed and self.graph.inputs != (feed,):
            raise wrong("is not the network's only input", f'"{feed}"')
        return feed

    def _layer(self, node: Node, kernel: str) -> None:
        operands, reader = self.graph.operands(node), f'node "{node.name}"'
        lowered = lower(node.op, operands)
        for tensor in operands.activations:
            if not self.shadow.made(tensor.name):
                raise wrong(f'reads "{tensor.name}" before it is made', reader)
        if not lowered.kernel:
            if kernel:
                raise wrong(f'moves nothing: kernel "{kernel}" cannot run it', reader)
            self._view(operands)
            return
        special = self._kernel(node, kernel, lowered)
        if lowered.homes:
            self._update(node, lowered)
            return
        done = moments(
            operands,
            node.op.windows(operands),
            tuple(self.shadow.span(tensor) for tensor in operands.activations),
            tuple(self.shadow.span(tensor) for tensor in operands.outputs),
            in_order=special.in_order,
            in_place=special.in_place,
            blocks=special.blocks,
        )
        scratch = self.shadow.scratch(node.name, special.scratch_bytes)
        self.shadow.perform(done, scratch, reader)
        for tensor in operands.outputs:
            self.shadow.read(self.shadow.span(tensor), reader)

    def _update(self, node: Node, lowered: Lowered) -> None:
        """Execute a node that updates states where they lie."""
        operands, reader = self.graph.operands(node), f'node "{node.name}"'
        sources = tuple(self.shadow.span(tensor) for tensor in operands.activations)
        results = tuple(self.shadow.span(tensor) for tensor in operands.outputs)
        updated = {operands.input(i).name for i in lowered.homes.values()}
        for output, source in lowered.homes.items():
            if results[output].low != self.shadow.span(operands.input(source)).low:
                raise wrong(f'"{results[output].value}" is not where it is updated', reader)
        kept = tuple(span for span in sources if span.value not in updated)
        self.shadow.perform([Moment(sources, results, kept)], (), reader)
        for span in results:
            self.shadow.read(span, reader)

    def _kernel(self, node: Node, name: str, lowered: Lowered) -> Specialised:
        try:
            kernel, special = specialise(lowered, name)
        except KeyError:
            raise wrong(f'no kernel "{name}" can run it', f'node "{node.name}"') from None
        if kernel.isa > self.isa:
            raise wrong(f'kernel "{name}" does not run on "{self.plan.isa}"', f'node "{node.name}"')
        return special

    def _view(self, operands: Operands) -> None:
        source, view = self.shadow.span(operands.input(0)), self.shadow.span(operands.output)
        if view.low != source.low:
            raise wrong(
                f'must stay at byte {source.low}, where "{source.value}" lies, not at {view.low}',
                f'"{view.value}"',
            )
        self.shadow.read(source, f'"{view.value}"')
        self.shadow.rename(source.value, view.value)
