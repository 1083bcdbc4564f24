"""The difference of two plans of one network: figures, execution of nodes, places of buffers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from toolchain.ir.graph import Graph
from toolchain.plan.plan import LayerStage, Plan, Slot, StreamStage


@dataclass(frozen=True)
class Change:
    """What one thing is in both plans; empty where it is not.

    Attributes:
        name: a figure, node or slot.
        before: in the first plan.
        after: in the second plan.
    """

    name: str
    before: str
    after: str

    @property
    def differs(self) -> bool:
        """Tell whether the plans differ in this."""
        return self.before != self.after


@dataclass(frozen=True)
class PlanDiff:
    """How the second of two plans differs from the first.

    Attributes:
        figures: bytes, multiply-accumulates and stages, those that are equal too.
        nodes: nodes that are executed in another way, in order of execution.
        slots: buffers that are new, gone, or of another size, place or life.
    """

    figures: tuple[Change, ...]
    nodes: tuple[Change, ...]
    slots: tuple[Change, ...]


def diff(graph: Graph, before: Plan, after: Plan) -> PlanDiff:
    """Return how ``after`` differs from ``before``, both plans of ``graph``."""
    figures = _pairs(_figures(before), _figures(after))
    ways = _pairs(_ways(before), _ways(after))
    order = {node.name: number for number, node in enumerate(graph.nodes)}
    places = _pairs(_places(before), _places(after))

    def place_of(way: Change) -> int:
        return order.get(way.name, len(order))  # what is executed again comes last

    return PlanDiff(
        figures,
        tuple(
            sorted(
                (way for way in ways if way.differs), key=lambda way: order.get(way.name, 1 << 30)
            )
        ),
        tuple(place for place in places if place.differs),
    )


def _figures(plan: Plan) -> dict[str, str]:
    streams = [stage for stage in plan.stages if isinstance(stage, StreamStage)]
    regions = {f"bytes in {name}": f"{size:,}" for name, size in plan.regions.items()}
    return {
        "arena, bytes": f"{plan.arena_bytes:,}",
        **(regions if len(regions) > 1 else {}),
        "no layout is below": f"{plan.lower_bound_bytes:,}",
        "multiply-accumulates": f"{plan.macs:,}",
        "times the work": f"{plan.mac_factor:.3f}",
        "stages": str(len(plan.stages)),
        "streams": str(len(streams)),
        "instruction set": plan.isa,
    }


def _ways(plan: Plan) -> dict[str, str]:
    """Return how each node is executed, in words."""
    found: dict[str, str] = {}
    for stage in plan.stages:
        if isinstance(stage, LayerStage):
            found[stage.node] = f"layer, {stage.kernel}" if stage.kernel else "view"
            continue
        tiles = f", {stage.tile_rows} x {stage.tile_columns} tiles" if stage.tiles > 1 else ""
        head = f"stream {stage.nodes[0]} .. {stage.nodes[-1]}{tiles}"
        for node, kernel, rows in zip(stage.nodes, stage.kernels, stage.steps, strict=True):
            found[node] = f"{head}, {kernel}" + (f", {rows} rows per step" if rows > 1 else "")
    return found


def _places(plan: Plan) -> dict[str, str]:
    return {slot.name: _place(slot) for slot in sorted(plan.slots, key=lambda s: (s.first, s.name))}


def _place(slot: Slot) -> str:
    return f"{slot.size:,} at {slot.offset:,} of {slot.region}, steps {slot.first}..{slot.last}"


def _pairs(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[Change, ...]:
    names = dict.fromkeys([*before, *after])
    return tuple(Change(name, before.get(name, ""), after.get(name, "")) for name in names)
