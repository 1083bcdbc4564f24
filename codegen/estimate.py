"""How much flash a firmware will take, before a compiler has seen it."""

from __future__ import annotations

from codegen.model import build_model
from toolchain.ir.graph import Graph
from toolchain.plan.plan import Plan

# Fitted to linked firmware of nine networks (-O2, Cortex-M4), rounded up: start-up code and
# protocol; a kernel; a layer.
_RUNTIME_BYTES = 3400
_KERNEL_BYTES = 250
_LAYER_BYTES = 20


def estimate_flash(graph: Graph, plan: Plan) -> int:
    """Return the bytes of flash: constants exactly, code by an estimate per kernel and layer."""
    model = build_model(graph, plan, "model")
    tables = sum(table.data.nbytes for table in model.tables)
    code = _KERNEL_BYTES * len(model.functions) + _LAYER_BYTES * len(model.calls)
    return tables + code + _RUNTIME_BYTES
