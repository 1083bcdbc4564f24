"""A plan as one self-contained HTML page: memory over time, the Pareto front, the layers.

Nothing is loaded from elsewhere; the pictures are inline SVG; the page reads on paper as well as on
a screen. It shows plans side by side: the first is the one the others are compared with. However
large the network is, the page stays small: then fewer plans are drawn, with shorter names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from codegen.render import render
from codegen.timeline import COLOURS, HEIGHT, WIDTH, Timeline, alive, shortened, timeline
from toolchain.ir.graph import Graph, Node
from toolchain.plan.diff import Change, PlanDiff, diff
from toolchain.plan.plan import LayerStage, Plan, stage_nodes

LIMIT = 500_000


@dataclass(frozen=True)
class _Detail:
    """How much a page shows: plans drawn, letters of a name, boxes of a plan, rows of tables."""

    plans: int
    letters: int
    boxes: int
    rows: int


_DETAILS = (
    _Detail(6, 80, 10_000, 10_000),
    _Detail(3, 48, 2_000, 2_000),
    _Detail(2, 32, 1_000, 1_000),
    _Detail(2, 20, 400, 300),
    _Detail(1, 12, 200, 100),
)


@dataclass(frozen=True)
class Point:
    """A plan in the picture of memory against work."""

    x: float
    y: float
    label: str
    chosen: bool


@dataclass(frozen=True)
class Row:
    """A node in the table of layers, executed by the first plan and by the chosen one."""

    name: str
    op: str
    shape: str
    macs: int
    kernel: str
    stage: str
    before: int
    after: int


def plan_report(graph: Graph, plans: Sequence[tuple[str, Plan]], chosen: Plan | None = None) -> str:
    """Return the page for ``plans``, less than 500 KB.

    Args:
        graph: the network.
        plans: pairs of label and plan; the others are compared with the first.
        chosen: the one among them to show beside the first; the last by default.
    """
    after = plans[-1][1] if chosen is None else chosen
    page = ""
    for detail in _DETAILS:
        page = _page(graph, plans, after, detail)
        if len(page.encode()) < LIMIT:
            break
    return page


def _page(graph: Graph, plans: Sequence[tuple[str, Plan]], chosen: Plan, detail: _Detail) -> str:
    ceiling = max(1, *(plan.arena_bytes for _, plan in plans))
    before = plans[0][1]
    first = [(label, plan) for label, plan in plans if plan in (before, chosen)]
    others = [(label, plan) for label, plan in plans if plan not in (before, chosen)]
    drawn = [*first, *others][: detail.plans]
    return render(
        "report/plan.html.j2",
        graph=graph,
        plans=plans,
        chosen=chosen,
        timelines=[_timeline(label, plan, ceiling, detail) for label, plan in drawn],
        points=front(plans, chosen),
        layers=list(islice(_layers(graph, before, chosen, detail.letters), detail.rows)),
        diff=_short(diff(graph, before, chosen), detail),
        width=WIDTH,
        height=HEIGHT,
        colours=COLOURS,
    )


def _timeline(label: str, plan: Plan, ceiling: int, detail: _Detail) -> Timeline:
    return timeline(label, plan, ceiling, letters=detail.letters, most=detail.boxes)


def front(plans: Sequence[tuple[str, Plan]], chosen: Plan) -> list[Point]:
    """Return the plans as points: x grows with the arena, y with the multiply-accumulates."""
    memory = [plan.arena_bytes for _, plan in plans]
    work = [plan.mac_factor for _, plan in plans]
    return [
        Point(
            40 + (WIDTH - 80) * _share(plan.arena_bytes, memory),
            HEIGHT / 2 - 20 - (HEIGHT / 2 - 40) * _share(plan.mac_factor, work),
            f"{label}: {plan.arena_bytes:,} bytes, {plan.mac_factor:.3f} x MACs",
            plan == chosen,
        )
        for label, plan in plans
    ]


def _share(value: float, values: Sequence[float]) -> float:
    low, high = min(values), max(values)
    return (value - low) / (high - low) if high > low else 0.5


def _layers(graph: Graph, before: Plan, after: Plan, letters: int) -> list[Row]:
    peaks = _alive_at(before), _alive_at(after)
    ways = _ways(after)
    return [_row(graph, node, *ways[node.name], peaks, letters) for node in graph.nodes]


def _row(
    graph: Graph,
    node: Node,
    kernel: str,
    stage: str,
    peaks: tuple[dict[str, int], dict[str, int]],
    letters: int,
) -> Row:
    operands = graph.operands(node)
    shape = "x".join(map(str, operands.outputs[0].shape))
    before, after = (peak[node.name] for peak in peaks)
    name = shortened(node.name, letters)
    return Row(name, node.op.name, shape, node.op.macs(operands), kernel, stage, before, after)


def _ways(plan: Plan) -> dict[str, tuple[str, str]]:
    """Return kernel and stage of each node."""
    found: dict[str, tuple[str, str]] = {}
    for number, stage in enumerate(plan.stages):
        if isinstance(stage, LayerStage):
            found[stage.node] = stage.kernel or "-", f"{number} layer" if stage.kernel else "view"
        else:
            tiles = f", {stage.tile_rows} x {stage.tile_columns} tiles" if stage.tiles > 1 else ""
            for node, kernel, rows in zip(stage.nodes, stage.kernels, stage.steps, strict=True):
                steps = f", {rows} rows per step" if rows > 1 else ""
                found[node] = kernel, f"{number} stream{tiles}{steps}"
    return found


def _alive_at(plan: Plan) -> dict[str, int]:
    """Return the bytes alive when each node is executed."""
    nodes = [node for stage in plan.stages for node in stage_nodes(stage)]
    return dict(zip(nodes, alive(plan), strict=False))


def _short(changes: PlanDiff, detail: _Detail) -> PlanDiff:
    """Return the changes that a page of this detail shows."""

    def short(found: Sequence[Change]) -> tuple[Change, ...]:
        texts = ((c.name, c.before, c.after) for c in found[: detail.rows])
        return tuple(Change(*(shortened(text, 2 * detail.letters) for text in t)) for t in texts)

    return PlanDiff(changes.figures, short(changes.nodes), short(changes.slots))
