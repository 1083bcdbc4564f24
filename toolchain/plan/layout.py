"""Layout: offsets for blocks of memory so that those alive together do not collide.

The problem is dynamic storage allocation (NP-hard, Garey and Johnson SR2) with one addition:
a pair of blocks may be allowed to overlap when one starts far enough above the other. Everything
is counted in words (4 bytes). The search goes from cheap to exact and stops at the lower bound:
greedy orders, a hill climb on the best of them, then branch and bound (`toolchain.plan.precedence`)
with a limit on nodes, so that equal problems have equal answers on every machine. A short branch
and bound comes before the climb: often it proves that there is nothing to gain.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

from toolchain.plan.effort import NORMAL, Effort
from toolchain.plan.precedence import Pair, PrecedenceSearch, lowest

_FEW = 12  # blocks whose least extent alone is worth a proof
_ALONE = 8  # times as many states for these
_FIRST = 8  # share of the branch and bound that comes before the hill climb


@dataclass(frozen=True)
class Block:
    """A piece of memory: size in words, first and last step that need it."""

    size: int
    first: int
    last: int


@dataclass(frozen=True)
class Problem:
    """Blocks, and for pairs ``(upper, lower)`` of indices how close they may start.

    ``overlaps[upper, lower] = d`` allows block ``upper`` to start ``d`` words above the start of
    ``lower`` although both are alive (or, if it is negative, below it); without an entry ``d`` is
    the size of ``lower``.
    """

    blocks: tuple[Block, ...]
    overlaps: Mapping[tuple[int, int], int]

    @cached_property
    def gaps(self) -> tuple[tuple[tuple[int, int, int], ...], ...]:
        """Return per block ``(other, gap if above the other, gap if below it)`` for rivals."""
        count = len(self.blocks)
        return tuple(
            tuple(
                (j, self._gap(i, j), self._gap(j, i))
                for j in range(count)
                if i != j and self._together(self.blocks[i], self.blocks[j])
            )
            for i in range(count)
        )

    def _gap(self, upper: int, lower: int) -> int:
        return self.overlaps.get((upper, lower), self.blocks[lower].size)

    @staticmethod
    def _together(a: Block, b: Block) -> bool:
        return a.first <= b.last and b.first <= a.last

    def lower_bound(self) -> int:
        """Return words that no layout can do without: the largest need of any step."""
        steps = sorted({block.first for block in self.blocks})
        return max((self._need(step) for step in steps), default=0)

    def _need(self, step: int) -> int:
        alive = {i for i, b in enumerate(self.blocks) if b.first <= step <= b.last}
        pairs = [(a, b) for a, b in self.overlaps if a in alive and b in alive]
        rivals = Counter(block for pair in pairs for block in pair)
        # Those that share a byte form a chain of uppers and lowers: none is twice in either role.
        # So each pair's share counts at one of the two: the upper, the lower, that of more pairs.
        sides = (
            [upper for upper, _ in pairs],
            [lower for _, lower in pairs],
            [max(pair, key=lambda block: rivals[block]) for pair in pairs],
        )
        saved = min(self._saved(pairs, counted) for counted in sides)
        return sum(self.blocks[i].size for i in alive) - saved

    def _saved(self, pairs: Sequence[tuple[int, int]], counted: Sequence[int]) -> int:
        """Return the most words that ``pairs`` may share, each counted at one of its blocks.

        What a block shares in one role lies no farther from one of its ends than the lower of the
        pair reaches over the start of the upper: jobs with deadlines, the earliest done first.
        """
        jobs: dict[tuple[int, bool], list[tuple[int, int]]] = {}
        for (upper, lower), block in zip(pairs, counted, strict=True):
            if words := self._shared(upper, lower):
                deadline = self.blocks[lower].size - self.overlaps[upper, lower]
                jobs.setdefault((block, block == upper), []).append((deadline, words))
        saved = 0
        for (block, _), found in jobs.items():
            done = 0
            for deadline, words in sorted(found):
                done = min(done + words, deadline)
            saved += min(done, self.blocks[block].size)
        return saved

    def _shared(self, upper: int, lower: int) -> int:
        """Return the most words that both blocks of a pair may share."""
        sizes = self.blocks[upper].size, self.blocks[lower].size
        joint = max(sizes[0] + max(0, self.overlaps[upper, lower]), sizes[1])
        return max(0, sum(sizes) - joint)


@dataclass(frozen=True)
class Layout:
    """Offsets in words, their extent, and the bound below which no layout exists."""

    offsets: tuple[int, ...]
    extent: int
    bound: int


@dataclass(frozen=True)
class _Placed:
    extent: int
    offsets: list[int]
    order: list[int]


def solve(problem: Problem, effort: Effort = NORMAL) -> Layout:
    """Return a layout of least extent, or the best found with this effort; equal ones once."""
    return _solve(problem.blocks, tuple(sorted(problem.overlaps.items())), effort)


@lru_cache(256)
def _solve(
    blocks: tuple[Block, ...], overlaps: tuple[tuple[tuple[int, int], int], ...], effort: Effort
) -> Layout:
    problem = Problem(blocks, dict(overlaps))
    stacked = _stacked(problem)
    best = Layout(tuple(stacked.offsets), stacked.extent, problem.lower_bound())
    best = _tighten(problem, best, effort.search_nodes // _FIRST)
    if best.extent > best.bound:
        best = replace(best, bound=_crowded(problem, best, effort.search_nodes))
        climbed = _climb(problem, stacked, best.bound, effort.climb_steps)
        if climbed.extent < best.extent:
            best = Layout(tuple(climbed.offsets), climbed.extent, best.bound)
        best = _tighten(problem, best, effort.search_nodes)
    return best


def _crowded(problem: Problem, best: Layout, nodes: int) -> int:
    """Return a bound that may be better: what the blocks of one step need if laid out alone.

    Most proofs are short. One that is not is looked for once, and the others then not as far.
    """
    subsets, bound, most = Subsets(problem), best.bound, nodes * _ALONE
    for step in sorted({block.first for block in problem.blocks}):
        alive = [i for i, b in enumerate(problem.blocks) if b.first <= step <= b.last]
        few = len(alive) <= _FEW
        if few and bound < best.extent and (extent := subsets.extent(alive)) > bound:
            part = subsets.part(alive)
            blocks = tuple(Block(block.size, 0, 0) for block in part.blocks)
            least = _least(blocks, tuple(sorted(part.overlaps.items())), extent, most)
            bound, most = max(bound, least), most if least else nodes // _FIRST
    return bound


@lru_cache(256)
def _least(
    blocks: tuple[Block, ...],
    overlaps: tuple[tuple[tuple[int, int], int], ...],
    extent: int,
    nodes: int,
) -> int:
    """Return the least extent of any layout, known to be ``extent`` at most; 0 if not found."""
    problem = Problem(blocks, dict(overlaps))
    while (search := _search(problem, extent - 1, nodes)).offsets is not None:
        extent = max(at + b.size for at, b in zip(search.offsets, blocks, strict=True))
    return 0 if search.gave_up else extent


def _stacked(problem: Problem) -> _Placed:
    """Return the layout that is found at once."""
    return min((_stack(problem, order) for order in _orders(problem)), key=lambda p: p.extent)


class Subsets:
    """Layouts of some blocks of a problem, quick ones and good ones."""

    def __init__(self, problem: Problem) -> None:
        self._problem, self._orders = problem, _orders(problem)

    def extent(self, chosen: Collection[int]) -> int:
        """Return the extent of a layout of the ``chosen`` blocks that is found at once."""
        orders = ([i for i in order if i in chosen] for order in self._orders)
        return min(_stack(self._problem, order).extent for order in orders)

    def solve(self, chosen: Sequence[int]) -> Layout:
        """Return `solve` of the problem of the ``chosen`` blocks."""
        return solve(self.part(chosen))

    def part(self, chosen: Sequence[int]) -> Problem:
        """Return the problem of the ``chosen`` blocks."""
        place = {block: number for number, block in enumerate(chosen)}
        blocks = tuple(self._problem.blocks[block] for block in chosen)
        overlaps = {
            (place[upper], place[lower]): distance
            for (upper, lower), distance in self._problem.overlaps.items()
            if upper in place and lower in place
        }
        return Problem(blocks, overlaps)


def _tighten(problem: Problem, best: Layout, nodes: int) -> Layout:
    """Search between the bound and the best layout, at the bound first, then by bisection."""
    floor, left, target = best.bound, nodes, best.bound
    while floor < best.extent and left > 0:
        search = _search(problem, target, min(left, nodes // 4))
        left -= search.states
        if search.offsets is not None:
            best = replace(best, offsets=tuple(search.offsets), extent=target)
        else:
            floor = target + 1
            best = best if search.gave_up else replace(best, bound=floor)
        target = (floor + best.extent) // 2
    return best


@dataclass(frozen=True)
class _Searched:
    offsets: list[int] | None
    states: int
    gave_up: bool


def _search(problem: Problem, extent: int, nodes: int) -> _Searched:
    """Search a layout of at most this extent through so many states."""
    sizes = [block.size for block in problem.blocks]
    pairs = [
        Pair(i, j, above, below)
        for i, rivals in enumerate(problem.gaps)
        for j, above, below in rivals
        if i < j
    ]
    search = PrecedenceSearch(sizes, pairs, extent, nodes)
    found = search.run()
    return _Searched(found, nodes - max(0, search.nodes), search.gave_up)


def _orders(problem: Problem) -> list[list[int]]:
    """Return orders in which to place blocks, each a known good heuristic."""
    blocks = problem.blocks
    crowd = [sum(blocks[j].size for j, _, _ in rivals) for rivals in problem.gaps]
    keys: tuple[Callable[[int], tuple[int, ...]], ...] = (
        lambda i: (-blocks[i].size, blocks[i].first),
        lambda i: (-crowd[i] - blocks[i].size, -blocks[i].size),
        lambda i: (-blocks[i].size * (blocks[i].last - blocks[i].first + 1), i),
        lambda i: (blocks[i].first, -blocks[i].size),
        lambda i: (-blocks[i].last, -blocks[i].size),
    )
    return [sorted(range(len(blocks)), key=key) for key in keys]


def _stack(problem: Problem, order: Sequence[int]) -> _Placed:
    """Place blocks in ``order``, each at the lowest offset that those placed leave."""
    offsets = [-1] * len(problem.blocks)
    extent = 0
    for i in order:
        taken = [
            (offsets[j] - below, offsets[j] + above)
            for j, above, below in problem.gaps[i]
            if offsets[j] >= 0
        ]
        offsets[i] = offset = lowest(taken)
        extent = max(extent, offset + problem.blocks[i].size)
    return _Placed(extent, offsets, list(order))


def _climb(problem: Problem, best: _Placed, bound: int, steps: int) -> _Placed:
    """Move blocks that reach the top to the front of the order while that helps."""
    rng = random.Random(len(problem.blocks))
    for _ in range(steps):
        top = [
            i
            for i, block in enumerate(problem.blocks)
            if best.offsets[i] + block.size == best.extent
        ]
        block = rng.choice([*top, rng.randrange(len(problem.blocks))])
        order = [i for i in best.order if i != block]
        order.insert(rng.randrange(len(order) + 1), block)
        candidate = _stack(problem, order)
        if candidate.extent <= best.extent:
            best = candidate
        if best.extent == bound:
            break
    return best
