"""The planner: how a graph is executed in the least memory, as a value with its proof."""

from toolchain.plan.check import check_plan
from toolchain.plan.layers import plan_layers
from toolchain.plan.model import pareto, plan_model, worth_choosing
from toolchain.plan.plan import (
    LayerStage,
    Plan,
    Repeat,
    RowStore,
    Slot,
    Stage,
    StreamStage,
    graph_hash,
)
from toolchain.plan.repeats import repeated
from toolchain.plan.serialise import plan_from_json, plan_to_json, read_plan, write_plan

__all__ = [
    "LayerStage",
    "Plan",
    "Repeat",
    "RowStore",
    "Slot",
    "Stage",
    "StreamStage",
    "check_plan",
    "graph_hash",
    "pareto",
    "plan_from_json",
    "plan_layers",
    "plan_model",
    "plan_to_json",
    "read_plan",
    "repeated",
    "worth_choosing",
    "write_plan",
]
