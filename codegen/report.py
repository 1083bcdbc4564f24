"""A plan as one self-contained HTML page: memory over time, the Pareto front, the layers.

Nothing is loaded from elsewhere; the pictures are inline SVG; the page reads on paper as well as on
a screen. It shows plans side by side: the first is the one the others are compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from codegen.render import render
from toolchain.ir.graph import Graph
from toolchain.plan.plan import Plan, Slot

WIDTH, HEIGHT = 920, 320
_COLOURS = 12


@dataclass(frozen=True)
class Box:
    """A slot's life as a rectangle: x is time, y is the address (0 at the bottom)."""

    x: float
    y: float
    width: float
    height: float
    colour: int
    title: str


@dataclass(frozen=True)
class Timeline:
    """The arena of one plan over its steps.

    Attributes:
        label: what the plan is called.
        plan: the plan.
        boxes: one per slot.
        alive: bytes alive in each step.
        ceiling: bytes at the top of the picture, the same for all plans of a page.
    """

    label: str
    plan: Plan
    boxes: tuple[Box, ...]
    alive: tuple[int, ...]
    ceiling: int

    @property
    def again(self) -> int:
        """Return how many operators are executed again."""
        return sum(len(repeat.nodes) for repeat in self.plan.repeats)

    @property
    def bound_y(self) -> float:
        """Return the height of the arena's upper end in the picture."""
        return HEIGHT * (1 - self.plan.arena_bytes / self.ceiling)


@dataclass(frozen=True)
class Point:
    """A plan in the picture of memory against work."""

    x: float
    y: float
    label: str


def plan_report(graph: Graph, plans: Sequence[tuple[str, Plan]]) -> str:
    """Return the page for ``plans``, pairs of label and plan of the same graph."""
    ceiling = max(1, *(plan.arena_bytes for _, plan in plans))
    return render(
        "report/plan.html.j2",
        graph=graph,
        timelines=[timeline(label, plan, ceiling) for label, plan in plans],
        points=front(plans),
        layers=_layers(graph),
        width=WIDTH,
        height=HEIGHT,
        colours=_COLOURS,
    )


def timeline(label: str, plan: Plan, ceiling: int) -> Timeline:
    """Return the picture of ``plan``'s arena, ``ceiling`` bytes high."""
    steps = 1 + max((slot.last for slot in plan.slots), default=0)
    boxes = tuple(_box(slot, number, steps, ceiling) for number, slot in enumerate(plan.slots))
    alive = tuple(
        sum(s.size for s in plan.slots if s.first <= step <= s.last) for step in range(steps)
    )
    return Timeline(label, plan, boxes, alive, ceiling)


def front(plans: Sequence[tuple[str, Plan]]) -> list[Point]:
    """Return the plans as points: x grows with the arena, y with the multiply-accumulates."""
    memory = [plan.arena_bytes for _, plan in plans]
    work = [plan.mac_factor for _, plan in plans]
    return [
        Point(
            40 + (WIDTH - 80) * _share(plan.arena_bytes, memory),
            HEIGHT / 2 - 20 - (HEIGHT / 2 - 40) * _share(plan.mac_factor, work),
            f"{label}: {plan.arena_bytes:,} bytes, {plan.mac_factor:.3f} x MACs",
        )
        for label, plan in plans
    ]


def _share(value: float, values: Sequence[float]) -> float:
    low, high = min(values), max(values)
    return (value - low) / (high - low) if high > low else 0.5


def _box(slot: Slot, number: int, steps: int, ceiling: int) -> Box:
    column = WIDTH / steps
    return Box(
        x=slot.first * column,
        y=HEIGHT * (1 - slot.end / ceiling),
        width=(slot.last - slot.first + 1) * column,
        height=HEIGHT * slot.size / ceiling,
        colour=number % _COLOURS,
        title=f"{slot.name}: {slot.size:,} bytes at {slot.offset:,}, "
        f"steps {slot.first} to {slot.last}",
    )


def _layers(graph: Graph) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for node in graph.nodes:
        operands = graph.operands(node)
        tensors = {t.name: t for t in (*operands.activations, *operands.outputs)}
        rows.append(
            {
                "name": node.name,
                "op": node.op.name,
                "shape": "x".join(map(str, operands.outputs[0].shape)),
                "macs": node.op.macs(operands),
                "bytes": sum(tensor.nbytes for tensor in tensors.values()),
            }
        )
    return rows
