"""Staged weights: constants that are copied to a free piece of the arena just before they are used.

A convolution reads its weights again for every few pixels, and most cores wait for each word that
comes from flash. Where the arena has room beside what is alive, a stage of the plan first copies
the constants of such nodes there: flash is read once. The room is a slot, ``"<node>.weights"``,
that lives as long as the stage. Unlike hot weights (`toolchain.plan.hot`) it is free for others
after that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from boards.board import FlashAccess
from toolchain.ir.graph import Graph, Node
from toolchain.kernels import Specialised
from toolchain.plan.lowering import lower, specialise
from toolchain.plan.plan import LayerStage, Plan, Slot, Stage, stage_nodes
from toolchain.plan.repeats import repeated
from toolchain.plan.rows import named_row_work

_WORD = 4
_KEPT = 0.75  # of the data cache: code reads constants, too
# What copying takes per byte, beside the waits: loads and stores of eight words each.
_COPY_CYCLES = 0.75


@dataclass(frozen=True)
class _Stay:
    """Constants that may lie in the arena while a stage runs.

    Attributes:
        node: whose they are.
        size: bytes.
        saves: cycles.
        first: first step of the stage.
        last: last step.
    """

    node: str
    size: int
    saves: float
    first: int
    last: int


def slot_name(node: str) -> str:
    """Return the name of the slot for a node's constants."""
    return f"{node}.weights"


def offsets(special: Specialised) -> dict[str, int]:
    """Return where each table of a kernel lies in the slot, by name, and ``""`` for the end."""
    found, end = {}, 0
    for name, table in special.tables.items():
        found[name] = end
        end += -(-table.nbytes // _WORD) * _WORD
    return {**found, "": end}


def stageable(stage: Stage) -> bool:
    """Tell whether constants can be copied as a stage begins: not if it does so for each tile."""
    return isinstance(stage, LayerStage) or stage.tiles == 1


def with_staged_weights(
    graph: Graph, plan: Plan, access: FlashAccess, most_bytes: int | None = None
) -> Plan:
    """Return ``plan`` with slots for constants where they save waits for the flash.

    Args:
        graph: the planned graph.
        plan: a checked plan, in one region.
        access: what reading the flash costs.
        most_bytes: the arena may grow to this; by default it does not grow.
    """
    if len(plan.regions) > 1:
        return plan
    slots = list(plan.slots)
    limit = max(plan.arena_bytes, most_bytes or 0)
    (region,) = plan.regions
    for stay in sorted(_stays(graph, plan, access), key=lambda s: -s.saves / s.size):
        offset = _gap(slots, stay)
        if offset + stay.size <= limit:
            slots.append(
                Slot(slot_name(stay.node), (), region, offset, stay.size, stay.first, stay.last)
            )
    if len(slots) == len(plan.slots):
        return plan
    end = max(plan.arena_bytes, *(slot.end for slot in slots))
    return replace(plan, slots=tuple(slots), arena_bytes=end)


def without(plan: Plan, nodes: Collection[str]) -> Plan:
    """Return ``plan`` without the slots for constants of ``nodes``."""
    gone = {slot_name(node) for node in nodes}
    return replace(plan, slots=tuple(slot for slot in plan.slots if slot.name not in gone))


def staged(graph: Graph, stage: Stage, slots: Mapping[str, Slot]) -> Iterator[tuple[str, int]]:
    """Yield the nodes of a stage whose constants are staged, and the bytes that these take.

    Args:
        graph: the graph, with its nodes repeated as the plan says.
        stage: the stage.
        slots: of the plan, by name.
    """
    names = [name for name in stage_nodes(stage) if slot_name(name) in slots]
    for name, special, _ in _kernels(graph, stage) if names else ():
        if name in names:
            yield name, offsets(special)[""]


def _stays(graph: Graph, plan: Plan, access: FlashAccess) -> Iterator[_Stay]:
    whole, first = repeated(graph, plan.repeats), 0
    for stage in plan.stages:
        count = len(stage_nodes(stage))
        for name, special, reads in _kernels(whole, stage) if stageable(stage) else ():
            size = offsets(special)[""]
            saves = _saves(access, size, reads)
            if saves > 0:
                yield _Stay(name, size, saves, first, first + count - 1)
        first += count


def _saves(access: FlashAccess, size: int, reads: int) -> float:
    """Return the cycles that a copy of ``size`` bytes saves which are read so often."""
    if size <= _KEPT * access.data_words * access.word:
        return 0.0  # the data cache keeps them
    word = access.word if access.data_words else _WORD
    return size * (access.wait_states / word * (reads - 1) - _COPY_CYCLES)


def _kernels(graph: Graph, stage: Stage) -> Iterator[tuple[str, Specialised, int]]:
    """Yield the nodes of a stage that read constants: name, kernel, and how often it does so."""
    nodes = {node.name: node for node in graph.nodes}
    kernels = (stage.kernel,) if isinstance(stage, LayerStage) else stage.kernels
    for name, kernel in zip(stage_nodes(stage), kernels, strict=True):
        if kernel:
            special, calls = _special(graph, nodes[name], kernel, isinstance(stage, LayerStage))
            if special.tables:
                yield name, special, special.reads * calls


def _special(graph: Graph, node: Node, kernel: str, layer: bool) -> tuple[Specialised, int]:
    """Return a node's kernel and how often it is called for the whole node, if not row by row."""
    operands = graph.operands(node)
    if layer:
        return specialise(lower(node.op, operands), kernel)[1], 1
    work = named_row_work(node, operands, kernel)
    assert work is not None, "a checked plan"
    return work.special, work.rows if work.single else 1


def _gap(slots: list[Slot], stay: _Stay) -> int:
    """Return the first offset with room beside the slots that are alive."""
    offset = 0
    for slot in sorted(slots, key=lambda slot: slot.offset):
        if slot.first <= stay.last and stay.first <= slot.last:
            if slot.offset >= offset + stay.size:
                break
            offset = max(offset, -(-slot.end // _WORD) * _WORD)
    return offset
