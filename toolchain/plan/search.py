"""The search: plans of least memory and of least work, with and without computing things twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from functools import cached_property

from toolchain.ir.graph import Graph, Node
from toolchain.kernels import Isa
from toolchain.plan.edges import Edge
from toolchain.plan.effort import NORMAL, Effort, Watch
from toolchain.plan.layers import plan_layers
from toolchain.plan.lifetimes import kernel_works, prepare, share_places
from toolchain.plan.order import branches_first, update_early, views_late
from toolchain.plan.passes import Link, Passes
from toolchain.plan.plan import LayerStage, Plan, stage_nodes
from toolchain.plan.rows import named_row_work, row_kernels

_SLOWED = 0.07  # share of instructions by which kernels may miss the fastest without a wish
_MOST = 1.05  # instructions over those of plain layers that memory may cost in any case
_LIMITS = (_MOST, 1.07)  # the same of plans between the fastest and the leanest
_CALM = (1.0, 0.65)  # shares of the least need that stages should keep to where they can


class Search:
    """All plans of one graph.

    Args:
        graph: a verified graph.
        isa: instruction set the kernels are chosen for.
        fed: whether the caller may hand over the input row by row, or part by part.
        recompute: whether plans that compute things twice will be asked for.
        effort: how far to search.
        watch: who follows the search.
    """

    def __init__(
        self,
        graph: Graph,
        isa: Isa,
        *,
        fed: bool,
        recompute: bool = True,
        effort: Effort = NORMAL,
        watch: Watch | None = None,
    ) -> None:
        self.graph, self.isa, self.effort, self.watch = graph, isa, effort, watch or Watch()
        self.layers = self.watch.found(plan_layers(graph, isa, effort))
        nodes = {node.name: node for node in graph.nodes}
        order = [nodes[name] for stage in self.layers.stages for name in stage_nodes(stage)]
        self.work = prepare(graph, isa)
        wide = update_early(graph, self.work, branches_first(graph))
        ways = [views_late(graph, self.work, way) for way in (order, wide)]
        self.ways = [
            Passes(graph, isa, way, fed=fed, recompute=recompute, tick=self.watch.tick)
            for way in dict.fromkeys(ways if effort.broad else ways[:1])
        ]
        self.lean = self._lean_ways(fed=fed) if effort.broad else []

    def _lean_ways(self, *, fed: bool) -> list[Passes]:
        """Return the ways with kernels of least scratch memory, if there are such."""
        lean = prepare(self.graph, self.isa, lean=True)
        if all(lean[name].kernel == work.kernel for name, work in self.work.items()):
            return []
        orders = [passes.order for passes in self.ways]
        tick = self.watch.tick
        return [
            Passes(self.graph, self.isa, order, fed=fed, lean=True, tick=tick) for order in orders
        ]

    def further(self, effort: Effort) -> Search:
        """Return a search of the same ways with another effort."""
        search = copy(self)
        search.__dict__.pop("_once", None)
        search.effort = effort
        return search

    def once(self) -> list[Plan]:
        """Return plans that compute nothing twice, to the least memory.

        Begins with plain layers, or with the fewest streams if the input is fed; it is not where
        that takes more memory than plain layers.
        """
        return list(self._once)

    @cached_property
    def _once(self) -> tuple[Plan, ...]:
        points = self.effort.points
        plans = [self._plan(cuts, limit) for cuts in self.ways for limit in _limits(cuts, points)]
        for passes in (*self.ways, *self.lean):
            plans += self._tightest(passes)
        most = self.layers.arena_bytes
        if not any(plan.feed and plan.arena_bytes <= most for plan in plans):
            plans = [self.layers, *(plan for plan in plans if plan.arena_bytes <= most)]
        found: list[Plan] = []
        for plan in sorted(plans, key=lambda p: (-p.arena_bytes, p.instructions)):
            if not found or plan.arena_bytes < found[-1].arena_bytes:
                found.append(plan)
        return tuple(found)

    def quick(self) -> list[Plan]:
        """Return those of `once` that pay, and whose kernels miss the fastest by few instructions.

        A plan pays if it takes few instructions more than plain layers, or saves a share of the
        memory no smaller than that by which the work grows; then kernels must not miss as many.
        """
        first, *others = self.once()
        quick = [first]
        for plan in others:
            if self._pays(quick[-1], plan):
                quick.append(plan)
        return quick

    def _pays(self, before: Plan, plan: Plan) -> bool:
        more = plan.instructions / max(1, before.instructions) - 1
        less = 1 - plan.arena_bytes / max(1, before.arena_bytes)
        if plan.instructions <= _MOST * self.layers.instructions:
            return self._slowed(plan) <= _SLOWED
        return more <= less and self._slowed(plan) <= _MOST - 1

    def _slowed(self, plan: Plan) -> float:
        """Return the share of instructions that faster kernels would save."""
        nodes = {node.name: node for node in self.graph.nodes}
        placed = share_places(self.graph, self.isa, self.work)
        missed = 0
        for stage in plan.stages:
            kernels = (stage.kernel,) if isinstance(stage, LayerStage) else stage.kernels
            for name, kernel in zip(stage_nodes(stage), kernels, strict=True):
                node = nodes[name]
                rows = row_kernels(node, self.graph.operands(node), self.isa)[:1]
                if kernel in (self.work[name].kernel, placed[name].kernel, *rows):
                    continue
                if isinstance(stage, LayerStage):
                    missed += self._layer_work(node, kernel) - self.work[name].instructions
                else:
                    missed += self._row_work(node, kernel) - self._row_work(node, rows[0])
        return missed / max(1, plan.instructions - missed)

    def _layer_work(self, node: Node, kernel: str) -> int:
        works = kernel_works(self.graph, node, self.isa)
        return next(work.instructions for work in works if work.kernel == kernel)

    def _row_work(self, node: Node, kernel: str) -> int:
        work = named_row_work(node, self.graph.operands(node), kernel)
        return work.cost(self.isa) if work else 0

    def again(self, least: int) -> list[Plan]:
        """Return plans that compute things twice and need less than ``least`` bytes.

        Returns:
            Plans with more and more work that need less and less memory.
        """
        plans = [
            self._plan(cuts, limit, recompute=True)
            for cuts in self.ways
            for limit in _thinned([limit for limit, _ in _descent(cuts)], self.effort.points)
        ]
        found: list[Plan] = []
        for plan in sorted(plans, key=lambda p: (p.macs, p.arena_bytes, p.instructions)):
            if plan.arena_bytes < least:
                found.append(plan)
                least = plan.arena_bytes
        return found

    def leanest(self, most_macs: int) -> Plan | None:
        """Return the plan of least memory that executes at most so many multiply-accumulates."""
        plans = [plan for cuts in self.ways for plan in self._leanest(cuts, most_macs)]
        return min(plans, key=lambda p: (p.arena_bytes, p.instructions), default=None)

    def lightest(self, most_bytes: int) -> Plan | None:
        """Return the plan of least work that computes things twice within so many bytes."""
        plans = [plan for cuts in self.ways for plan in self._lightest(cuts, most_bytes)]
        return min(plans, key=lambda p: (p.instructions, p.arena_bytes), default=None)

    def _tightest(self, passes: Passes) -> list[Plan]:
        """Return plans of least need that spend no byte to save work, lean ones also quicker."""
        paths: dict[tuple[Edge, ...], list[Link]] = {}
        for shared in (False, True):
            least = passes.narrowest(shared=shared)
            for calm in _CALM:
                path = passes.path(least, calm=int(calm * least), shared=shared)
                paths.setdefault(tuple(link.edge for link in path), path)
        plans: list[Plan] = []
        for path in paths.values():
            if passes.lean:
                most = [share * self.layers.instructions for share in _LIMITS]
                plans += map(self.watch.found, passes.lean_plans(path, most, self.effort))
            else:
                plans.append(self.watch.found(passes.plan(path, 0, self.effort)))
        return plans

    def _plan(
        self, cuts: Passes, limit: int, *, recompute: bool = False, path: Sequence[Link] = ()
    ) -> Plan:
        chosen = path or cuts.path(limit, recompute=recompute)
        return self.watch.found(cuts.plan(chosen, limit, self.effort))

    def _leanest(self, cuts: Passes, most_macs: int) -> Iterator[Plan]:
        """Yield plans at the least limit of memory whose path has few enough macs."""
        limits = sorted({link.edge.need for link in cuts.links})
        low, high = 0, len(limits) - 1
        while low < high:
            middle = (low + high) // 2
            if self._few(cuts.path(limits[middle], recompute=True, fewest_macs=True), most_macs):
                high = middle
            else:
                low = middle + 1
        for limit in limits[low : low + 2]:
            easy = cuts.path(limit, recompute=True)
            fewest = cuts.path(limit, recompute=True, fewest_macs=True)
            for path in (easy, fewest):
                if path and self._few(path, most_macs):
                    plan = self._plan(cuts, limit, path=path)
                    if plan.macs <= most_macs:
                        yield plan
                        break

    def _few(self, path: Sequence[Link], most_macs: int) -> bool:
        repeated = sum(max(0, link.edge.macs) for link in path)
        return bool(path) and self.graph.macs + repeated <= most_macs

    def _lightest(self, cuts: Passes, most_bytes: int) -> Iterator[Plan]:
        """Yield the first plan, from the least work on, that keeps to the limit of memory."""
        fitting = [limit for limit, _ in _descent(cuts) if limit <= most_bytes]
        for limit in fitting[: self.effort.tries]:
            plan = self._plan(cuts, limit, recompute=True)
            if plan.arena_bytes <= most_bytes:
                yield plan
                return


def _limits(cuts: Passes, points: int) -> list[int]:
    """Return limits of memory that lead to different stages, the greatest first."""
    floor, limit = cuts.narrowest(), 1 << 60
    limits = [limit] if cuts.fed else []
    while limit >= floor and len(limits) < points:
        limit = max(link.edge.need for link in cuts.path(limit)) - 1
        limits.append(limit)
    return sorted({floor, *(limit for limit in limits if limit >= floor)}, reverse=True)


def _descent(cuts: Passes) -> Iterator[tuple[int, list[Link]]]:
    """Yield limits of memory, falling, and the path of least work that computes things twice.

    Starts below what is possible without.
    """
    limit = cuts.narrowest() - 1
    while path := cuts.path(limit, recompute=True):
        limit = max(link.edge.need for link in path)
        yield limit, path
        limit -= 1


def _thinned(limits: Sequence[int], points: int) -> list[int]:
    """Return some of the limits, evenly over them, the last among them."""
    if len(limits) <= points:
        return list(limits)
    return [limits[round(i * (len(limits) - 1) / (points - 1))] for i in range(points)]
