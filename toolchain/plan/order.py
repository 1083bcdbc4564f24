"""Order of execution: the topological order whose live memory peaks lowest.

A state is the set of nodes done; the memory alive in it does not depend on how it was reached, so
a best-first search over states (smallest peak so far first) finds the optimum. Networks with wide
branches have too many states: the search gives up after a fixed number, and the file's order stays.

Source: minimax form of the ordering problem of Ahn et al., "Ordering chaos" (MLSys 2020).
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping

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


class _Search:
    def __init__(self, graph: Graph, work: Mapping[str, Work], limit: int) -> None:
        self.graph, self.work, self.limit = graph, work, limit
        self.root = roots(graph, work)
        number = {node.name: i for i, node in enumerate(graph.nodes)}
        self.needs = [self._mask(node, number) for node in graph.nodes]
        self.readers = self._readers(number)
        self.sizes = {name: graph.tensors[name].nbytes for name in set(self.root.values())}

    def _mask(self, node: Node, number: Mapping[str, int]) -> int:
        made = (self.graph.producers.get(name) for name in node.inputs if name is not None)
        return sum({1 << number[n.name] for n in made if n is not None})

    def _readers(self, number: Mapping[str, int]) -> dict[str, int]:
        """Return for each buffer the set of nodes that read it; outputs are never done with."""
        readers = dict.fromkeys(self.root.values(), 0)
        for name, owner in self.root.items():
            for node in self.graph.consumers[name]:
                readers[owner] |= 1 << number[node.name]
            if name in self.graph.outputs:
                readers[owner] |= 1 << len(number)
        return readers

    def run(self) -> tuple[Node, ...] | None:
        full = (1 << len(self.graph.nodes)) - 1
        start = frozenset(self.root[name] for name in self.graph.inputs)
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
