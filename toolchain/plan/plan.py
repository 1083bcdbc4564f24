"""The plan: how a graph is executed, as a value beside it.

A plan can be printed, diffed, saved as ``plan.json``, edited by hand, and is checked on load by
code that does not know how it was made (`toolchain.plan.check`). Steps are numbered by stage, and
the caller reads the outputs in one more step at the end; a slot lives from the first to the last
step that needs it, both included.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from toolchain.ir.graph import Graph

ARENA = "arena"


@dataclass(frozen=True)
class LayerStage:
    """One node executed at once.

    Attributes:
        node: the node's name.
        kernel: the kernel's name (`toolchain.kernels`), empty for a view that moves nothing.
    """

    node: str
    kernel: str


# Patch and streaming stages will join this union.
Stage = LayerStage


@dataclass(frozen=True)
class Slot:
    """A piece of the arena.

    Two slots that live in the same step share no byte, with one exception: where a node's kernel
    works in order, the node's output may run over those parts of a dying input that it has read.

    Attributes:
        name: the first tensor that lives here, or ``"<node>.scratch"``.
        tensors: all tensors that live here (a tensor and its views); empty for scratch.
        region: memory region of the board, ``"arena"`` when the board does not matter.
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
class Plan:
    """How a graph is executed.

    Attributes:
        graph_hash: SHA-256 of the planned graph, hexadecimal.
        isa: name of the instruction set the kernels were chosen for.
        stages: in order of execution.
        slots: the arena's layout.
        arena_bytes: extent of the arena (activations, scratch, inputs and outputs).
        lower_bound_bytes: no layout of these stages can be smaller; equal to ``arena_bytes`` when
            the layout is proven optimal.
        macs: multiply-accumulates that one inference executes.
        recomputed_macs: those among them that repeat work (halos computed more than once).
    """

    graph_hash: str
    isa: str
    stages: tuple[Stage, ...]
    slots: tuple[Slot, ...]
    arena_bytes: int
    lower_bound_bytes: int
    macs: int
    recomputed_macs: int

    def slot_of(self, tensor: str) -> Slot:
        """Return the slot that holds ``tensor``."""
        return next(slot for slot in self.slots if tensor in slot.tensors)

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
    return digest.hexdigest()
