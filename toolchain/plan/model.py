"""``plan_model`` and ``pareto``: the planner's front door."""

from __future__ import annotations

from boards import Board
from toolchain.errors import FitError
from toolchain.ir.graph import Graph
from toolchain.kernels import Isa
from toolchain.plan.assemble import assemble
from toolchain.plan.cuts import Cuts
from toolchain.plan.layers import plan_layers
from toolchain.plan.lifetimes import prepare
from toolchain.plan.order import branches_first, update_early
from toolchain.plan.plan import Plan, stage_nodes

_POINTS = 12  # at most so many points of a front


def plan_model(
    graph: Graph,
    board: Board | None = None,
    *,
    max_ram: int | None = None,
    max_macs: float | None = None,
    fed: bool = False,
) -> Plan:
    """Return the best plan of ``graph``, never one with more memory than its layer plan.

    Args:
        graph: a verified graph.
        board: whose kernels to use; ``None`` for portable ones.
        max_ram: with it, the plan of least work whose arena has at most so many bytes; without
            it, the plan of least memory.
        max_macs: greatest factor of multiply-accumulates over the plain network; no plan here
            computes anything twice, so each has a factor of 1.
        fed: let the caller hand over the input row by row, if the network can take it so
            (`Plan.feed`).

    Raises:
        FitError: E304 with the least that is possible if ``max_ram`` or ``max_macs`` is less.
    """
    if max_macs is not None and max_macs < 1:
        raise FitError("E304", f"no plan has {max_macs} times the work", hints=["--max-macs 1x"])
    front = pareto(graph, board, fed=fed)
    if max_ram is None:
        return front[0]
    fitting = [plan for plan in front if plan.arena_bytes <= max_ram]
    if not fitting:
        least = front[0].arena_bytes
        raise FitError(
            "E304",
            f"no plan of {graph.name} needs at most {max_ram} bytes of RAM: the least is {least}",
            numbers={"max_ram_bytes": max_ram, "least_ram_bytes": least},
            hints=[f"--max-ram {least}"],
        )
    return fitting[-1]


def pareto(graph: Graph, board: Board | None = None, *, fed: bool = False) -> tuple[Plan, ...]:
    """Return the plans of which none has both less memory and less work than another.

    Args:
        graph: a verified graph.
        board: whose kernels to use; ``None`` for portable ones.
        fed: let the caller hand over the input row by row, if the network can take it so.

    Returns:
        Plans from the least memory to the least work, which is that of plain layers (of the fewest
        streamed ones with ``fed``).
    """
    isa = Isa.PORTABLE if board is None else Isa[board.isa.upper()]
    layers = plan_layers(graph, isa)
    nodes = {node.name: node for node in graph.nodes}
    order = [nodes[name] for stage in layers.stages for name in stage_nodes(stage)]
    work = prepare(graph, isa)
    plans: list[Plan] = []
    for way in dict.fromkeys((tuple(order), update_early(graph, work, branches_first(graph)))):
        cuts = Cuts(graph, isa, work, way, fed=fed)
        for limit in _limits(cuts):
            segments = cuts.segments(cuts.path(limit), limit)
            plans.append(assemble(graph, isa, work, way, segments))
    found = [] if any(plan.feed for plan in plans) else [layers]
    for plan in sorted(plans, key=lambda p: -p.arena_bytes):
        if not found or plan.arena_bytes < found[-1].arena_bytes:
            found.append(plan)
    return tuple(reversed(found))


def _limits(cuts: Cuts) -> list[int]:
    """Return limits of memory that lead to different stages, the greatest first."""
    floor = cuts.narrowest()
    limits: list[int] = []
    limit = 1 << 60
    while limit >= floor and len(limits) < _POINTS:
        limit = max(edge.need for edge in cuts.path(limit)) - 1
        limits.append(limit)
    return sorted({floor, *(limit for limit in limits if limit >= floor)}, reverse=True)
