"""Loop nests: how operators that move or reduce elements walk over tensors of any rank.

A nest is a tuple of loops, outermost first; neighbours that step like one longer loop are merged,
so that the generated C has no more loops than it needs and its innermost ones are long.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate
from operator import mul
from typing import NamedTuple


class Loop(NamedTuple):
    """``rounds`` steps; each moves the source by ``x_step`` and the target by ``y_step``."""

    rounds: int
    x_step: int
    y_step: int


def row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the distance in elements between neighbours along every axis."""
    return tuple(accumulate(reversed(shape[1:]), mul, initial=1))[: len(shape)][::-1]


def merged(loops: Iterable[Loop]) -> tuple[Loop, ...]:
    """Drop loops of one round and merge those that continue the loop around them."""
    nest: list[Loop] = []
    for loop in loops:
        if loop.rounds == 1:
            continue
        if nest:
            outer = nest[-1]
            span = (loop.rounds * loop.x_step, loop.rounds * loop.y_step)
            if (outer.x_step, outer.y_step) == span:
                nest[-1] = Loop(outer.rounds * loop.rounds, loop.x_step, loop.y_step)
                continue
        nest.append(loop)
    return tuple(nest)
