"""Precedence search: a layout within a given extent, or the proof that there is none.

Every pair of blocks that are alive together must be put in an order, one above the other by a
gap. The search keeps for each block the range of offsets that the orders decided so far leave; an
order that cannot hold forces the other one. While some pair still collides at the lowest offsets,
the tightest such pair is put in both orders, one after the other.

Source: branch and bound on disjunctive constraints, as for job shops (Carlier and Pinson,
"An algorithm for solving the job-shop problem", Management Science 35, 1989).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Pair:
    """Two blocks alive together; each may start ``..._above`` words over the other, or more."""

    a: int
    b: int
    a_above: int
    b_above: int


class PrecedenceSearch:
    """A search for offsets of ``sizes`` below ``extent``.

    Args:
        sizes: words of each block.
        pairs: the blocks that must not collide.
        extent: words there are.
        nodes: how many states may be visited.
    """

    def __init__(
        self, sizes: Sequence[int], pairs: Sequence[Pair], extent: int, nodes: int
    ) -> None:
        self.pairs, self.nodes = pairs, nodes
        self.top = [extent - size for size in sizes]
        self.of_block: list[list[int]] = [[] for _ in sizes]
        for index, pair in enumerate(pairs):
            self.of_block[pair.a].append(index)
            self.of_block[pair.b].append(index)

    def run(self) -> list[int] | None:
        """Return offsets, or ``None`` if there are none or the search gave up."""
        low, high = [0] * len(self.top), list(self.top)
        if any(top < 0 for top in high):
            return None
        return self._solve(low, high, [0] * len(self.pairs), range(len(self.pairs)))

    @property
    def gave_up(self) -> bool:
        """Tell whether states were left unvisited."""
        return self.nodes < 0

    def _solve(
        self, low: list[int], high: list[int], order: list[int], dirty: Sequence[int]
    ) -> list[int] | None:
        """Search below one state; ``order`` holds +1 (a above b), -1 or 0 per pair."""
        stack = [(low, high, order, list(dirty))]
        while stack:
            self.nodes -= 1
            if self.nodes < 0:
                return None
            low, high, order, todo = stack.pop()
            if not self._propagate(low, high, order, todo):
                continue
            index = self._tightest(low, high, order)
            if index < 0:
                return low
            first = (
                1 if self._slack(index, low, high, 1) >= self._slack(index, low, high, -1) else -1
            )
            for way in (-first, first):
                decided = list(order)
                decided[index] = way
                stack.append((list(low), list(high), decided, [index]))
        return None

    def _propagate(
        self, low: list[int], high: list[int], order: list[int], todo: list[int]
    ) -> bool:
        """Narrow the ranges until nothing changes; tell whether all are still possible."""
        while todo:
            index = todo.pop()
            if order[index] == 0:
                a_fits = self._slack(index, low, high, 1) >= 0
                b_fits = self._slack(index, low, high, -1) >= 0
                if not a_fits and not b_fits:
                    return False
                if a_fits and b_fits:
                    continue
                order[index] = 1 if a_fits else -1
            upper, lower, gap = self._edge(index, order[index])
            if low[lower] + gap > low[upper]:
                low[upper] = low[lower] + gap
                todo.extend(self.of_block[upper])
            if high[upper] - gap < high[lower]:
                high[lower] = high[upper] - gap
                todo.extend(self.of_block[lower])
            if low[upper] > high[upper] or low[lower] > high[lower]:
                return False
        return True

    def _edge(self, index: int, way: int) -> tuple[int, int, int]:
        pair = self.pairs[index]
        return (pair.a, pair.b, pair.a_above) if way > 0 else (pair.b, pair.a, pair.b_above)

    def _slack(self, index: int, low: list[int], high: list[int], way: int) -> int:
        upper, lower, gap = self._edge(index, way)
        return high[upper] - low[lower] - gap

    def _tightest(self, low: list[int], high: list[int], order: list[int]) -> int:
        """Return the undecided pair that collides at the lowest offsets and has least room."""
        best, least = -1, 1 << 60
        for index, pair in enumerate(self.pairs):
            if order[index]:
                continue
            a, b = low[pair.a], low[pair.b]
            if a >= b + pair.a_above or b >= a + pair.b_above:
                continue
            room = max(self._slack(index, low, high, 1), self._slack(index, low, high, -1))
            if room < least:
                best, least = index, room
        return best
