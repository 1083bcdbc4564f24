"""Order of execution: the topological order whose live memory peaks lowest.

A state is the set of nodes done; the memory alive in it does not depend on how it was reached, so
a best-first search over states (smallest peak so far first) finds the optimum. Networks with wide
branches have too many states: the search gives up after a fixed number, and the file's order stays.

Source: minimax form of the ordering problem of Ahn et al., "Ordering chaos" (MLSys 2020).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence

from toolchain.ir.graph import Graph, Node
from toolchain.plan.lifetimes import Work, roots

_MAX_STATES = 5_000


def leaner_order(graph: Graph, work: Mapping[str, Work], limit: int) -> tuple[Node, ...] | None:
    """Return an order whose peak of live bytes is less than ``limit``, the least there is.

    Returns:
        ``None`` if the graph allows one order only, the search gave up, or no order is leaner.
    """
    if all(len(readers) <= 1 for readers in graph.consumers.values()):
        return None
    return _Search(graph, work, limit).run()


def update_early(graph: Graph, work: Mapping[str, Work], order: Sequence[Node]) -> tuple[Node, ...]:
    """Return ``order`` with every state updated as early as all who read it before allow."""
    if not graph.states:
        return tuple(order)
    updates = {graph.producers[state.write].name for state in graph.states}
    needs = _needs(graph, work)
    waiting = sorted(order, key=lambda node: node.name not in updates)
    early: list[Node] = []
    done: set[str] = set()
    while waiting:
        node = next(node for node in waiting if needs[node.name] <= done)
        waiting.remove(node)
        early.append(node)
        done.add(node.name)
    return tuple(early)


def views_late(graph: Graph, work: Mapping[str, Work], order: Sequence[Node]) -> tuple[Node, ...]:
    """Return ``order`` with views just before those who read them: no stream ends at a view."""
    if graph.states:  # whose updates wait for views
        return tuple(order)
    late: list[Node] = []
    views: dict[str, Node] = {}
    for node in order:
        if work[node.name].kernel:
            late += _due(node, views)
            late.append(node)
        else:
            views[node.outputs[0]] = node
    return (*late, *views.values())


def _due(node: Node, views: dict[str, Node]) -> Iterator[Node]:
    """Take the views that ``node`` reads from ``views``, those that they read before them."""
    for name in node.inputs:
        if name in views:
            view = views.pop(name)
            yield from _due(view, views)
            yield view


def _needs(graph: Graph, work: Mapping[str, Work]) -> dict[str, set[str]]:
    """Return for each node those that must be done before it.

    They are those that make its inputs and, if it updates a state, all who read that before.
    """
    found: dict[str, set[str]] = {}
    for node in graph.nodes:
        makers = (graph.producers.get(name) for name in node.inputs if name is not None)
        found[node.name] = {maker.name for maker in makers if maker is not None}
    for state in graph.states:
        update = graph.producers[state.write]
        old = {state.read}
        for node in graph.nodes:
            if node is not update and old.intersection(node.inputs):
                found[update.name].add(node.name)
                homes = work[node.name].homes.items()
                old.update(node.outputs[o] for o, i in homes if node.inputs[i] in old)
    return found


class _Search:
    def __init__(self, graph: Graph, work: Mapping[str, Work], limit: int) -> None:
        self.graph, self.work, self.limit = graph, work, limit
        self.root = roots(graph, work)
        number = {node.name: i for i, node in enumerate(graph.nodes)}
        needs = _needs(graph, work)
        self.needs = [sum(1 << number[n] for n in needs[node.name]) for node in graph.nodes]
        self.readers = self._readers(number)
        self.sizes = {name: graph.tensors[name].nbytes for name in set(self.root.values())}

    def _readers(self, number: Mapping[str, int]) -> dict[str, int]:
        """Return for each buffer the set of nodes that read it; outputs are never done with."""
        readers = dict.fromkeys(self.root.values(), 0)
        for name, owner in self.root.items():
            for node in self.graph.consumers[name]:
                readers[owner] |= 1 << number[node.name]
            if name in self.graph.sinks:
                readers[owner] |= 1 << len(number)
        return readers

    def run(self) -> tuple[Node, ...] | None:
        full = (1 << len(self.graph.nodes)) - 1
        start = frozenset(self.root[name] for name in self.graph.sources)
        queue: list[tuple[int, int, int, frozenset[str], tuple[int, ...]]] = []
        heapq.heappush(queue, (0, 0, 0, start, ()))
        seen: set[int] = set()
        while queue and len(seen) < _MAX_STATES:
            peak, _, done, alive, path = heapq.heappop(queue)
            if done == full:
                return tuple(self.graph.nodes[i] for i in path)
            if done in seen:
                continue
            seen.add(done)
            for i, needs in enumerate(self.needs):
                if done >> i & 1 or needs & ~done:
                    continue
                cost, after = self._execute(i, done, alive)
                if max(peak, cost) < self.limit:
                    item = max(peak, cost), -len(path), done | 1 << i, after, (*path, i)
                    heapq.heappush(queue, item)
        return None

    def _execute(self, i: int, done: int, alive: frozenset[str]) -> tuple[int, frozenset[str]]:
        """Return the bytes that node ``i`` needs with ``alive`` beside it, and what stays."""
        node, done = self.graph.nodes[i], done | 1 << i
        made = frozenset(self.root[name] for name in node.outputs)
        during = alive | made
        after = frozenset(name for name in during if self.readers[name] & ~done)
        work = self.work[node.name]
        cost = sum(self.sizes[name] for name in during) + work.scratch_bytes
        saved = sum(
            max(0, min(work.operands.output.nbytes - distance, self.sizes[self.root[name]]))
            for name, distance in work.overlaps.items()
            if self.root[name] not in after
        )
        return cost - min(saved, sum(self.sizes[name] for name in made)), after


def branches_first(graph: Graph) -> tuple[Node, ...]:
    """Return the order by depth, in which short branches come before long ones.

    In a stream this lets a short branch wait for the long one, and not run ahead of it.
    """
    depth: dict[str, int] = {}
    for node in graph.nodes:
        made = (graph.producers.get(name) for name in node.inputs if name is not None)
        depth[node.name] = 1 + max((depth[n.name] for n in made if n is not None), default=0)
    height: dict[str, int] = {}
    for node in reversed(graph.nodes):
        readers = (reader for name in node.outputs for reader in graph.consumers[name])
        height[node.name] = 1 + max((height[reader.name] for reader in readers), default=0)
    return tuple(sorted(graph.nodes, key=lambda n: (depth[n.name], height[n.name])))
