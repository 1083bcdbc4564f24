"""The plain layer plan: every node once, in the graph's order, offsets greedy by size."""

from __future__ import annotations

import hashlib

from toolchain.ir.graph import Graph
from toolchain.kernels import Isa, candidates
from toolchain.plan.plan import LayerStage, Plan, Slot

_ALIGN = 16


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


def plan_layers(graph: Graph, isa: Isa = Isa.PORTABLE) -> Plan:
    """Return the layer plan of ``graph`` with the first kernel that fits each node."""
    stages, scratch = [], {}
    for node in graph.nodes:
        lowered = node.op.lower(graph.operands(node))
        kernel = candidates(lowered, isa)[0] if lowered.kernel else None
        stages.append(LayerStage(node.name, kernel.name if kernel else ""))
        if kernel and (size := kernel.specialise(lowered).scratch_bytes):
            scratch[len(stages) - 1] = (node.name, size)
    slots = _lifetimes(graph, stages)
    for step, (name, size) in scratch.items():
        slots.append(Slot(f"{name}.scratch", (), "arena", 0, size, step, step))
    placed = _place(slots)
    return Plan(
        graph_hash(graph),
        isa.name.lower(),
        tuple(stages),
        tuple(placed),
        max((slot.end for slot in placed), default=0),
        _live_peak(placed, len(stages)),
    )


def _lifetimes(graph: Graph, stages: list[LayerStage]) -> list[Slot]:
    root = {name: name for name in graph.tensors}
    first, last = dict.fromkeys(graph.inputs, 0), dict.fromkeys(graph.inputs, 0)
    for step, (node, stage) in enumerate(zip(graph.nodes, stages, strict=True)):
        for name in node.inputs:
            if name is not None and not graph.tensors[name].is_constant:
                last[root[name]] = step
        for name in node.outputs:
            if not stage.kernel and node.inputs[0] is not None:
                root[name] = root[node.inputs[0]]
            first.setdefault(root[name], step)
            last[root[name]] = step
    for name in graph.outputs:
        last[root[name]] = len(stages) - 1
    members = {r: tuple(n for n in first_order(graph) if root[n] == r) for r in first}
    return [
        Slot(r, members[r], "arena", 0, graph.tensors[r].nbytes, first[r], last[r]) for r in first
    ]


def first_order(graph: Graph) -> list[str]:
    """Return the names of all activations in the order they are made."""
    return [*graph.inputs, *(name for node in graph.nodes for name in node.outputs)]


def _place(slots: list[Slot]) -> list[Slot]:
    from dataclasses import replace

    placed: list[Slot] = []
    for slot in sorted(slots, key=lambda s: (-s.size, s.first)):
        offset = 0
        for other in sorted(placed, key=lambda s: s.offset):
            alive = other.first <= slot.last and slot.first <= other.last
            if alive and offset < other.end and other.offset < offset + slot.size:
                offset = -(-other.end // _ALIGN) * _ALIGN
        placed.append(replace(slot, offset=offset))
    return placed


def _live_peak(slots: list[Slot], steps: int) -> int:
    return max(
        (sum(s.size for s in slots if s.first <= step <= s.last) for step in range(steps)),
        default=0,
    )
