"""The plan: how a graph is executed, as a value beside it.

A plan can be printed, diffed, saved as ``plan.json``, edited by hand, and is checked on load by
code that does not know how it was made (`toolchain.plan.check`). Each node takes a step, and the
caller reads the outputs in one more step at the end; a slot lives from the first to the last step
that needs it, both included. In a stream the steps of its nodes alternate; a slot is then alive
whenever one of its steps runs.
"""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass
from functools import cached_property

from toolchain.ir.graph import Graph

ARENA = "arena"
_WORD, _ALIGNMENT = 4, 8


@dataclass(frozen=True)
class LayerStage:
    """One node executed at once.

    Attributes:
        node: the node's name.
        kernel: the kernel's name (`toolchain.kernels`), empty for a view that moves nothing.
    """

    node: str
    kernel: str


@dataclass(frozen=True)
class RowStore:
    """Where a stream keeps the rows of a tensor that is never whole.

    The newest row is made in the slot ``"<tensor>.fresh"`` if there is one, and moved to the ring
    when those that read it at once have done so; else it is made in the ring. Row ``r`` of the
    ring lies at ``r % ring`` rows from the start of the slot ``"<tensor>.ring"``. Where a step
    makes a block of rows, all that is said of a row is true of the block.

    A row that is read at once may instead be a guest of the ring it is made from: it takes the
    place of the first row of its window, and the host's newest row moves to the ring only when the
    guest has been read.

    A row that others than its first reader wait for is made no earlier than it must: in pace with
    another tensor made from the same rows, just before the row of that which lets go of them
    (`toolchain.plan.schedule.paced`).

    Attributes:
        tensor: the tensor's name.
        ring: rows of the ring, 0 for none; whole blocks.
        fresh: 1 if the newest row has a slot of its own, else 0.
        host: the tensor on whose ring the rows lie, one at a time; empty for none.
        pace: the tensor with which rows are made in pace; empty for none.
    """

    tensor: str
    ring: int
    fresh: int
    host: str = ""
    pace: str = ""


@dataclass(frozen=True)
class StreamStage:
    """Nodes through which a map flows row by row, tile by tile.

    Again and again, the last node that has the rows it needs makes its next row
    (`toolchain.plan.schedule`). Tensors without a store are whole maps with slots of their own;
    those that leave the stage are cut into a grid of tiles, made one after the other. In one tile
    every row is computed once; where there are more, what their windows share is computed again
    for each (`toolchain.plan.tiles`).

    Attributes:
        feed: the network's input if the caller hands it over row by row, else empty. With more than
            one tile the caller is asked for parts of rows, for some of them more than once.
        nodes: in the graph's order.
        kernels: the kernel of each node.
        stores: where rows of the tensors inside the stage are kept.
        tile_rows: number of tiles along the rows.
        tile_columns: number of tiles along the columns.
        blocks: rows that a step of each node makes, one if there is no entry.
    """

    feed: str
    nodes: tuple[str, ...]
    kernels: tuple[str, ...]
    stores: tuple[RowStore, ...]
    tile_rows: int = 1
    tile_columns: int = 1
    blocks: tuple[int, ...] = ()

    @property
    def tiles(self) -> int:
        """Return the number of tiles."""
        return self.tile_rows * self.tile_columns

    @property
    def steps(self) -> tuple[int, ...]:
        """Return the rows that a step of each node makes."""
        return self.blocks or (1,) * len(self.nodes)


Stage = LayerStage | StreamStage


def stage_nodes(stage: Stage) -> tuple[str, ...]:
    """Return the nodes that a stage executes; each takes one step of the plan."""
    return (stage.node,) if isinstance(stage, LayerStage) else stage.nodes


@dataclass(frozen=True)
class Repeat:
    """Nodes that are executed once more, so that what they make need not be kept.

    The second executions have names of their own (`toolchain.plan.repeats`), by which stages and
    slots speak of them.

    Attributes:
        nodes: the nodes.
        readers: those that read what the second executions make; all others read the first.
    """

    nodes: tuple[str, ...]
    readers: tuple[str, ...]


@dataclass(frozen=True)
class Slot:
    """A piece of the arena.

    Two slots that live in the same step share no byte, with one exception: where a node's kernel
    works in order, the node's output may run over those parts of a dying input that it has read.

    Attributes:
        name: the first tensor that lives here, or ``"<node>.scratch"``, ``"<tensor>.ring"``,
            ``"<tensor>.fresh"``, ``"<node>.weights"`` (`toolchain.plan.staging`).
        tensors: all tensors that live here whole (a tensor and its views).
        region: piece of the board's RAM; ``"arena"`` is the largest, with stack and data.
        offset: bytes from the start of the region's arena.
        size: bytes.
        first: first step that needs it.
        last: last step that needs it.
    """

    name: str
    tensors: tuple[str, ...]
    region: str
    offset: int
    size: int
    first: int
    last: int

    @property
    def end(self) -> int:
        """Return the offset behind the last byte."""
        return self.offset + self.size


@dataclass(frozen=True)
class Hot:
    """A node whose constants are copied to RAM at start (`toolchain.plan.hot`).

    Attributes:
        node: the node's name.
        region: piece of the board's RAM, as in `Slot`.
    """

    node: str
    region: str


@dataclass(frozen=True)
class Plan:
    """How a graph is executed.

    Attributes:
        graph_hash: SHA-256 of the planned graph, hexadecimal.
        isa: name of the instruction set the kernels were chosen for.
        stages: in order of execution.
        slots: the arena's layout.
        arena_bytes: extent of the arena (activations, scratch, inputs and outputs), over all
            regions.
        lower_bound_bytes: no layout of these stages can be smaller; equal to ``arena_bytes`` when
            the layout is proven optimal.
        macs: multiply-accumulates that one inference executes.
        recomputed_macs: those among them that repeat work (halos computed more than once, nodes
            executed again).
        instructions: estimate (`toolchain.kernels.cost`): kernels, calls and moves of rows, but no
            copies of staged constants; a kernel without an estimate of its own counts by its
            multiply-accumulates.
        repeats: nodes that are executed again.
        hot: nodes whose constants are copied to RAM at start.
    """

    graph_hash: str
    isa: str
    stages: tuple[Stage, ...]
    slots: tuple[Slot, ...]
    arena_bytes: int
    lower_bound_bytes: int
    macs: int
    recomputed_macs: int
    instructions: int = 0
    repeats: tuple[Repeat, ...] = ()
    hot: tuple[Hot, ...] = ()

    def slot_of(self, tensor: str) -> Slot:
        """Return the slot that holds ``tensor``."""
        return next(slot for slot in self.slots if tensor in slot.tensors)

    @property
    def regions(self) -> dict[str, int]:
        """Return the bytes of the arena in each memory region, in order of the slots."""
        found: dict[str, int] = {}
        for slot in self.slots:
            found[slot.region] = max(found.get(slot.region, 0), -(-slot.end // _WORD) * _WORD)
        return found if len(found) > 1 else dict.fromkeys(found or (ARENA,), self.arena_bytes)

    @property
    def bases(self) -> dict[str, int]:
        """Return where the arena of each region begins if all lie end to end."""
        sizes = [-(-size // _ALIGNMENT) * _ALIGNMENT for size in self.regions.values()]
        return dict(zip(self.regions, itertools.accumulate([0, *sizes]), strict=False))

    @property
    def feed(self) -> str:
        """Return the input that the caller hands over row by row, empty if there is none."""
        return self._handed_over(single=True)

    @property
    def pull(self) -> str:
        """Return the input of which the caller is asked for parts, empty if there is none."""
        return self._handed_over(single=False)

    def _handed_over(self, *, single: bool) -> str:
        first = self.stages[0] if self.stages else None
        if isinstance(first, StreamStage) and (first.tiles == 1) == single:
            return first.feed
        return ""

    @property
    def proven(self) -> bool:
        """Tell whether no smaller layout of these stages exists."""
        return self.arena_bytes == self.lower_bound_bytes

    @property
    def mac_factor(self) -> float:
        """Return executed multiply-accumulates over those of the plain network."""
        return self.macs / (self.macs - self.recomputed_macs) if self.macs else 1.0

    @cached_property
    def hash(self) -> str:
        """Return the SHA-256 of all that shapes the firmware: graph, kernels, order and layout."""
        return hashlib.sha256(repr(self).encode()).hexdigest()


def graph_hash(graph: Graph) -> str:
    """Return the SHA-256 of a graph's structure, attributes and constants."""
    digest = hashlib.sha256()
    for name in sorted(graph.tensors):
        tensor = graph.tensors[name]
        digest.update(repr((name, tensor.shape, tensor.dtype.value, tensor.quant)).encode())
        if tensor.data is not None:
            digest.update(tensor.data.tobytes())
    for node in graph.nodes:
        digest.update(repr((node.name, node.op, node.inputs, node.outputs)).encode())
    digest.update(repr((graph.inputs, graph.outputs)).encode())
    for state in graph.states:
        digest.update(repr((state.read, state.write)).encode() + state.initial.tobytes())
    return digest.hexdigest()
