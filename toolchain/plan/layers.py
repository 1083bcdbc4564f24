"""The layer plan: every node once, with in-place execution, overlap and a proven layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from toolchain.ir.graph import Graph, Node
from toolchain.kernels import Isa
from toolchain.plan.layout import Block, Problem, solve
from toolchain.plan.lifetimes import Buffer, Work, buffers, prepare, roots
from toolchain.plan.order import leaner_order
from toolchain.plan.plan import ARENA, LayerStage, Plan, Slot, graph_hash

WORD = 4


def plan_layers(graph: Graph, isa: Isa = Isa.PORTABLE) -> Plan:
    """Return the layer plan of ``graph`` of least memory.

    The order of the file is kept unless another order is provably leaner.

    Args:
        graph: a verified graph.
        isa: instruction set the kernels are chosen for.
    """
    work = prepare(graph, isa)
    plan = plan_order(graph, isa, work, graph.nodes)
    order = leaner_order(graph, work, plan.arena_bytes)
    if order is not None:
        plan = min(plan, plan_order(graph, isa, work, order), key=lambda p: p.arena_bytes)
    return plan


def plan_order(graph: Graph, isa: Isa, work: Mapping[str, Work], order: Sequence[Node]) -> Plan:
    """Return the plan of least memory that executes the nodes in ``order``."""
    needed = buffers(graph, work, order)
    layout = solve(_problem(graph, work, order, needed))
    return Plan(
        graph_hash(graph),
        isa.name.lower(),
        tuple(LayerStage(node.name, work[node.name].kernel) for node in order),
        tuple(map(_slot, needed, layout.offsets)),
        layout.extent * WORD,
        layout.bound * WORD,
        graph.macs,
        recomputed_macs=0,
    )


def _slot(buffer: Buffer, offset: int) -> Slot:
    place = ARENA, offset * WORD, buffer.size, buffer.first, buffer.last
    return Slot(buffer.name, buffer.tensors, *place)


def _problem(
    graph: Graph, work: Mapping[str, Work], order: Sequence[Node], needed: Sequence[Buffer]
) -> Problem:
    """State the layout problem in words: blocks, and how far outputs may run over inputs."""
    root = roots(graph, work)
    index = {buffer.name: i for i, buffer in enumerate(needed)}
    overlaps: dict[tuple[int, int], int] = {}
    for step, node in enumerate(order):
        for name, distance in work[node.name].overlaps.items():
            upper, lower = index[root[name]], index[root[node.outputs[0]]]
            if needed[upper].last == step and needed[lower].first == step:
                overlaps[upper, lower] = -(-distance // WORD)
    blocks = tuple(Block(-(-b.size // WORD), b.first, b.last) for b in needed)
    return Problem(blocks, overlaps)
