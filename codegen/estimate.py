"""How much flash a firmware will take, before a compiler has seen it."""

from __future__ import annotations

from codegen.model import build_model
from codegen.sharing import kernels
from toolchain.ir.graph import Graph
from toolchain.plan.plan import Plan

# Fitted to linked firmware of fifteen networks (GCC 12, -O2): start-up code and protocol, then what
# a character of the kernels' C takes. Layers share kernels, so their number alone says little.
_RUNTIME_BYTES = 3200
_BYTES_PER_CHARACTER = {"portable": 0.36, "armv6m": 0.36, "dsp": 0.23, "mve": 0.29}


def estimate_flash(graph: Graph, plan: Plan) -> int:
    """Return the bytes of flash: constants exactly, code by the text of its kernels."""
    model = build_model(graph, plan, "model")
    tables = sum(table.data.nbytes for table in model.tables)
    characters = sum(len(text) for text in kernels(model.functions))
    return tables + _RUNTIME_BYTES + round(_BYTES_PER_CHARACTER[plan.isa] * characters)
