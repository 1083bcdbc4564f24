"""The layer plan: every node once, with in-place execution, overlap and a proven layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from toolchain.ir.graph import Graph, Node
from toolchain.kernels import Isa
from toolchain.plan.assemble import Segment, assemble
from toolchain.plan.effort import NORMAL, Effort
from toolchain.plan.lifetimes import Work, prepare, share_places
from toolchain.plan.order import leaner_order, update_early
from toolchain.plan.plan import Plan


def plan_layers(graph: Graph, isa: Isa = Isa.PORTABLE, effort: Effort = NORMAL) -> Plan:
    """Return the layer plan of ``graph`` of least memory.

    The order of the file is kept unless another order is provably leaner.

    Args:
        graph: a verified graph.
        isa: instruction set the kernels are chosen for.
        effort: how far to search for a layout.
    """
    work = prepare(graph, isa)
    file_order = update_early(graph, work, graph.nodes)
    plan = plan_order(graph, isa, work, file_order, effort)
    orders = [file_order]
    if (order := leaner_order(graph, work, plan.arena_bytes)) is not None:
        orders.append(order)
    shared = share_places(graph, isa, work)
    ways = [work, shared] if shared != work else [work]
    plans = (plan_order(graph, isa, way, order, effort) for way in ways for order in orders)
    return min(plans, key=lambda p: (p.arena_bytes, p.instructions))


def plan_order(
    graph: Graph,
    isa: Isa,
    work: Mapping[str, Work],
    order: Sequence[Node],
    effort: Effort = NORMAL,
) -> Plan:
    """Return the layer plan of least memory that executes the nodes in ``order``."""
    segments = [Segment(i, i + 1) for i in range(len(order))]
    return assemble(graph, isa, work, order, segments, effort=effort)
