"""Passes: which cuts a plan makes, and which nodes it executes again.

A minimax shortest path over the stages finds the plan whose largest need is least; a second
shortest path finds, within that limit, the plan with the least work. Where a map is gated
(`toolchain.plan.gates`) it is either kept, or the nodes in front of it are executed again. A stage
touches two gates at most, so four variants of the graph (nothing repeated, everything, every second
gate, the others) hold every stage that any choice can have. A path may change from one variant to
another wherever the same tensors are alive before the same node: so each gate is decided by itself.

Source: the two problems (least memory, least work within a limit) follow msf-CNN (arXiv
2505.11483). Here rows are kept in rings, so that a stream computes nothing twice; one that is cut
into strips of columns computes again what neighbouring strips share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from toolchain.ir.graph import Graph, Node
from toolchain.kernels import Isa
from toolchain.plan.assemble import Segment, assemble, assemble_lean
from toolchain.plan.cuts import Cuts
from toolchain.plan.edges import Edge
from toolchain.plan.effort import NORMAL, Effort
from toolchain.plan.gates import gate_repeats
from toolchain.plan.lifetimes import Work, prepare
from toolchain.plan.plan import Plan, Repeat
from toolchain.plan.repeats import inserted, repeated

_NEVER = 1 << 60, 0, 0


@dataclass(frozen=True, eq=False)
class Link:
    """A stage of one variant, from one state to another.

    Attributes:
        start: number of the state before it.
        end: number of the state behind it, greater.
        edge: the stage.
        cuts: the variant.
    """

    start: int
    end: int
    edge: Edge
    cuts: Cuts

    @property
    def nodes(self) -> Sequence[Node]:
        """Return the nodes of the stage."""
        return self.cuts.order[self.edge.first : self.edge.end]


class Passes:
    """All ways to cut one order of execution, with and without executing nodes again.

    Args:
        graph: the graph.
        isa: instruction set the kernels are chosen for.
        order: its nodes in order of execution.
        fed: whether the caller may hand over the network's input row by row.
        lean: whether stages are weighed with the kernels of least scratch memory; then nothing is
            executed again.
        recompute: whether paths that compute anything twice will be asked for.
        tick: called now and then; ends the search by an exception.
    """

    def __init__(
        self,
        graph: Graph,
        isa: Isa,
        order: Sequence[Node],
        *,
        fed: bool,
        lean: bool = False,
        recompute: bool = True,
        tick: Callable[[], None] = lambda: None,
    ) -> None:
        self.graph, self.isa, self.order, self.fed, self.lean = graph, isa, order, fed, lean
        self.recompute, self._tick = recompute and not lean, tick
        self._cuts: dict[tuple[Repeat, ...], Cuts] = {}
        plain = self.cuts(())
        self.repeats = gate_repeats(graph, order, plain.rows) if self.recompute else ()
        every = self.cuts(self.repeats)
        kinds = (), self.repeats, self.repeats[::2], self.repeats[1::2]
        variants = [self.cuts(kind) for kind in dict.fromkeys(kinds)]
        states = _States(variants, every)
        self.links = _undominated([link for one in variants for link in states.links(one)])
        self.states = len(states)

    def cuts(self, repeats: tuple[Repeat, ...]) -> Cuts:
        """Return the stages of the variant that executes these nodes again."""
        if repeats not in self._cuts:
            graph = repeated(self.graph, repeats)
            nodes = {node.name: node for node in graph.nodes}
            kept = [nodes.pop(node.name) for node in self.order]
            order, copies = inserted(kept, nodes.values()), frozenset(nodes)
            work = prepare(graph, self.isa, lean=self.lean)
            self._cuts[repeats] = Cuts(
                graph,
                self.isa,
                work,
                order,
                fed=self.fed,
                recompute=self.recompute,
                copies=copies,
                lean=self.lean,
                tick=self._tick,
            )
        return self._cuts[repeats]

    def narrowest(self, *, recompute: bool = False, shared: bool = False) -> int:
        """Return the least possible need of the neediest stage (``shared``: see `Edge.bytes`)."""
        best = [0] + [1 << 60] * (self.states - 1)
        for link in self.links:
            if recompute or link.edge.once:
                need = max(best[link.start], link.edge.bytes(shared=shared))
                best[link.end] = min(best[link.end], need)
        return best[-1]

    def path(
        self,
        limit: int,
        *,
        recompute: bool = False,
        fewest_macs: bool = False,
        calm: int | None = None,
        shared: bool = False,
    ) -> list[Link]:
        """Return the stages with the least work among those that need at most ``limit`` bytes.

        Args:
            limit: bytes.
            recompute: whether stages may compute anything twice.
            fewest_macs: whether the repeated multiply-accumulates count before all other work.
            calm: bytes above which what a stage needs counts before all work, so that a layout has
                room elsewhere.
            shared: see `Edge.bytes`.

        Returns:
            Nothing if there is no way within the limit.
        """
        best = [(0, 0, 0)] + [_NEVER] * (self.states - 1)
        taken: list[Link | None] = [None] * self.states
        for link in self.links:
            edge = link.edge
            need = edge.bytes(shared=shared)
            if need <= limit and (recompute or edge.once):
                macs, work, stages = best[link.start]
                first = edge.macs if fewest_macs else 0
                first += 0 if calm is None else max(0, need - calm)
                cost = macs + first, work + edge.work, stages + 1
                if cost < best[link.end]:
                    best[link.end], taken[link.end] = cost, link
        path: list[Link] = []
        state = self.states - 1
        while (link_in := taken[state]) is not None:
            path.append(link_in)
            state = link_in.start
        return path[::-1] if state == 0 else []

    def plan(self, path: Sequence[Link], limit: int, effort: Effort = NORMAL) -> Plan:
        """Return the plan of ``path``; rows move to rings only where ``limit`` asks for it."""
        chosen = tuple(repeat for repeat in self.repeats if _executes(path, repeat))
        cuts = self.cuts(chosen)
        work, segments = self._stages(cuts, path, limit)
        return assemble(self.graph, self.isa, work, cuts.order, segments, chosen, effort)

    def lean_plans(self, path: Sequence[Link], most: Sequence[float], effort: Effort) -> list[Plan]:
        """Return plans of ``path`` in little memory: see `assemble_lean`."""
        cuts = self.cuts(())
        work, segments = self._stages(cuts, path, 0)
        faster = cuts.faster(segments, work)
        return assemble_lean(self.graph, self.isa, work, cuts.order, segments, faster, most, effort)

    def _stages(
        self, cuts: Cuts, path: Sequence[Link], limit: int
    ) -> tuple[dict[str, Work], list[Segment]]:
        """Return what nodes need on ``path`` and its stages."""
        step = {node.name: i for i, node in enumerate(cuts.order)}
        edges = []
        for link in path:
            first = step[link.nodes[0].name]
            edges.append(replace(link.edge, first=first, end=first + len(link.nodes)))
        placed = {cuts.order[e.first].name for e in edges if e.in_place}
        work = {n: cuts.placed[n] if n in placed else one for n, one in cuts.work.items()}
        return work, cuts.segments(edges, limit)


class _States:
    """Numbers for the states between stages: the node that comes next, the tensors alive."""

    def __init__(self, variants: Sequence[Cuts], every: Cuts) -> None:
        rank = {node.name: number for number, node in enumerate(every.order)}
        keys = {self._key(cuts, step) for cuts in variants for step in range(len(cuts.order) + 1)}
        order = sorted(keys, key=lambda key: (rank.get(key[0], len(rank)), sorted(key[1])))
        self._numbers = {key: number for number, key in enumerate(order)}

    def __len__(self) -> int:
        return len(self._numbers)

    def links(self, cuts: Cuts) -> Iterator[Link]:
        """Yield the stages of a variant."""
        numbers = [self._numbers[self._key(cuts, s)] for s in range(len(cuts.order) + 1)]
        for edge in cuts.edges:
            yield Link(numbers[edge.first], numbers[edge.end], edge, cuts)

    @staticmethod
    def _key(cuts: Cuts, step: int) -> tuple[str, frozenset[str]]:
        following = cuts.order[step].name if step < len(cuts.order) else ""
        return following, cuts.alive(step)


def _executes(path: Sequence[Link], repeat: Repeat) -> bool:
    """Tell whether ``path`` executes these nodes again: their readers do not read the first."""
    nodes = {node.name: node for link in path for node in link.nodes}
    first = {name for node in repeat.nodes for name in nodes[node].outputs}
    return first.isdisjoint(nodes[repeat.readers[0]].inputs)


def _undominated(links: Sequence[Link]) -> list[Link]:
    """Return the links in order of their start, without those that another is no worse than."""
    found: dict[tuple[int, int], list[Edge]] = {}
    kept: list[Link] = []
    for link in sorted(links, key=lambda link: (link.start, link.edge.need, link.edge.work)):
        rivals = found.setdefault((link.start, link.end), [])
        if not any(_no_worse(rival, link.edge) for rival in rivals):
            rivals.append(link.edge)
            kept.append(link)
    return kept


def _no_worse(one: Edge, other: Edge) -> bool:
    costs = ((e.need, e.least, e.work, e.macs, not e.once) for e in (one, other))
    return all(a <= b for a, b in zip(*costs, strict=True))
