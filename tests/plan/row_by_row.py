"""Plans in which every node is a stream of its own."""

from __future__ import annotations

from toolchain.ir import Graph
from toolchain.kernels import Isa
from toolchain.plan import Plan, check_plan
from toolchain.plan.assemble import assemble
from toolchain.plan.cuts import Cuts
from toolchain.plan.edges import Edge
from toolchain.plan.lifetimes import prepare


def row_by_row(graph: Graph, isa: Isa) -> Plan:
    """Return the plan that runs every node of ``graph`` row by row, each on its own."""
    cuts = Cuts(graph, isa, prepare(graph, isa), graph.nodes, fed=False)
    path = [Edge(i, i + 1, True, need=0, least=0, work=0) for i in range(len(graph.nodes))]
    return check_plan(graph, assemble(graph, isa, cuts.work, graph.nodes, cuts.segments(path, 0)))
