"""``plan_model``: the planner's front door."""

from __future__ import annotations

from boards import Board
from toolchain.ir.graph import Graph
from toolchain.kernels import Isa
from toolchain.plan.layers import plan_layers
from toolchain.plan.plan import Plan


def plan_model(graph: Graph, board: Board | None = None) -> Plan:
    """Return the plan of least memory for ``graph``, with the kernels that ``board`` can run."""
    isa = Isa.PORTABLE if board is None else Isa[board.isa.upper()]
    return plan_layers(graph, isa)
