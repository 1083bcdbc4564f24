"""Precedence search: a layout within a given extent, or the proof that there is none.

Every pair of blocks that are alive together must be put in an order, one above the other by a
gap. The search keeps for each block the range of offsets that the orders decided so far leave; an
order that cannot hold forces the other one. While some pair still collides at the lowest offsets,
the tightest such pair is put in both orders, one after the other. The search begins anew after a
while, longer and longer; pairs at which it failed often are then decided first (F. Boussemart et
al., "Boosting systematic search by weighting constraints", ECAI 2004).

Blocks that find room wherever all their rivals lie are left out, again and again, and put back in
the end (as nodes of low degree when a graph is coloured: G. Chaitin et al., "Register allocation
via coloring", Computer Languages 6, 1981): what remains is the crowd around the peaks.

Source: branch and bound on disjunctive constraints, as for job shops (Carlier and Pinson,
"An algorithm for solving the job-shop problem", Management Science 35, 1989).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_FIRST_TRY = 100  # states before the search begins anew
_LONGER = 1.5


@dataclass(frozen=True)
class Pair:
    """Two blocks alive together; each may start ``..._above`` words over the other, or more."""

    a: int
    b: int
    a_above: int
    b_above: int


_State = tuple[list[int], list[int], list[int], list[int]]  # lowest, highest, orders, to be done


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
        self.failed = [1] * len(pairs)
        self.core: Sequence[int] = range(len(pairs))
        self.top = [extent - size for size in sizes]
        self.of_block = _by_block(pairs, range(len(pairs)), len(sizes))

    def run(self) -> list[int] | None:
        """Return offsets, or ``None`` if there are none or the search gave up."""
        low, high = [0] * len(self.top), list(self.top)
        if any(top < 0 for top in high):
            return None
        easy = self._easy()
        left = set(range(len(self.top))).difference(easy)
        self.core = [i for i, pair in enumerate(self.pairs) if {pair.a, pair.b} <= left]
        every, self.of_block = self.of_block, _by_block(self.pairs, self.core, len(self.top))
        found = self._solve(low, high, [0] * len(self.pairs), self.core)
        self.of_block = every
        return None if found is None else self._with_easy(found, easy)

    def _easy(self) -> list[int]:
        """Return blocks that find room wherever their rivals lie that do not come before them."""
        room = [top + 1 for top in self.top]
        for pair in self.pairs:
            for block in (pair.a, pair.b):
                room[block] -= _taken(pair)
        waiting = [block for block, free in enumerate(room) if free > 0]
        found = dict.fromkeys(waiting)
        while waiting:
            block = waiting.pop(0)
            for index in self.of_block[block]:
                pair = self.pairs[index]
                other = pair.b if pair.a == block else pair.a
                if other not in found:
                    room[other] += _taken(pair)
                    if room[other] > 0:
                        found[other] = None
                        waiting.append(other)
        return list(found)

    def _with_easy(self, offsets: list[int], easy: Sequence[int]) -> list[int]:
        """Put ``easy`` blocks back, the last first, each as low as it goes."""
        missing = set(easy)
        for block in reversed(easy):
            missing.discard(block)
            taken = []
            for pair in (self.pairs[index] for index in self.of_block[block]):
                below = pair.b_above if pair.a == block else pair.a_above
                above = pair.a_above if pair.a == block else pair.b_above
                other = pair.b if pair.a == block else pair.a
                if other not in missing:
                    taken.append((offsets[other] - below, offsets[other] + above))
            offsets[block] = lowest(taken)
        return offsets

    @property
    def gave_up(self) -> bool:
        """Tell whether states were left unvisited."""
        return self.nodes < 0

    def _solve(
        self, low: list[int], high: list[int], order: list[int], dirty: Sequence[int]
    ) -> list[int] | None:
        """Search below one state; ``order`` holds +1 (a above b), -1 or 0 per pair."""
        tries = float(_FIRST_TRY)
        while True:
            start = list(low), list(high), list(order), list(dirty)
            found, ended = self._try(start, int(tries))
            if ended or self.nodes < 0:
                return found
            tries *= _LONGER

    def _try(self, start: _State, most: int) -> tuple[list[int] | None, bool]:
        """Search through at most so many states; tell whether none is left."""
        stack = [start]
        while stack:
            self.nodes -= 1
            most -= 1
            if self.nodes < 0 or most < 0:
                return None, False
            low, high, order, todo = stack.pop()
            if not self._propagate(low, high, order, todo):
                continue
            index = self._tightest(low, high, order)
            if index < 0:
                return low, True
            first = (
                1 if self._slack(index, low, high, 1) >= self._slack(index, low, high, -1) else -1
            )
            for way in (-first, first):
                decided = list(order)
                decided[index] = way
                stack.append((list(low), list(high), decided, [index]))
        return None, True

    def _propagate(
        self, low: list[int], high: list[int], order: list[int], todo: list[int]
    ) -> bool:
        """Narrow the ranges until nothing changes; tell whether all are still possible."""
        pairs = self.pairs
        while todo:
            index = todo.pop()
            pair, way = pairs[index], order[index]
            a, b = pair.a, pair.b
            if way == 0:
                a_fits = high[a] - low[b] >= pair.a_above
                b_fits = high[b] - low[a] >= pair.b_above
                if not a_fits and not b_fits:
                    self.failed[index] += 1
                    return False
                if a_fits and b_fits:
                    continue
                way = order[index] = 1 if a_fits else -1
            upper, lower, gap = (a, b, pair.a_above) if way > 0 else (b, a, pair.b_above)
            if low[lower] + gap > low[upper]:
                low[upper] = low[lower] + gap
                todo.extend(self.of_block[upper])
            if high[upper] - gap < high[lower]:
                high[lower] = high[upper] - gap
                todo.extend(self.of_block[lower])
            if low[upper] > high[upper] or low[lower] > high[lower]:
                self.failed[index] += 1
                return False
        return True

    def _slack(self, index: int, low: list[int], high: list[int], way: int) -> int:
        pair = self.pairs[index]
        if way > 0:
            return high[pair.a] - low[pair.b] - pair.a_above
        return high[pair.b] - low[pair.a] - pair.b_above

    def _tightest(self, low: list[int], high: list[int], order: list[int]) -> int:
        """Return the undecided pair that collides at the lowest offsets and has least room.

        Room counts the less, the more often the search failed at the pair.
        """
        best, least = -1, float("inf")
        for index in self.core:
            if order[index]:
                continue
            pair = self.pairs[index]
            a, b = low[pair.a], low[pair.b]
            if a >= b + pair.a_above or b >= a + pair.b_above:
                continue
            room = max(high[pair.a] - b - pair.a_above, high[pair.b] - a - pair.b_above)
            weight = (room + 1) / self.failed[index]
            if weight < least:
                best, least = index, weight
        return best


def lowest(taken: Sequence[tuple[int, int]]) -> int:
    """Return the lowest offset, 0 or more, strictly between the ends of no range."""
    offset = 0
    for low, high in sorted(taken):
        if low >= offset:
            break
        offset = max(offset, high)
    return offset


def _taken(pair: Pair) -> int:
    """Return how many offsets of one block the other takes, wherever it lies."""
    return max(0, pair.a_above + pair.b_above - 1)


def _by_block(pairs: Sequence[Pair], chosen: Iterable[int], count: int) -> list[list[int]]:
    """Return for each block the numbers of the ``chosen`` pairs that it is in."""
    found: list[list[int]] = [[] for _ in range(count)]
    for index in chosen:
        found[pairs[index].a].append(index)
        found[pairs[index].b].append(index)
    return found
