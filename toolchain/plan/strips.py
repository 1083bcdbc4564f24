"""Strips: what a stream costs when its outputs are cut into columns, estimated for the search.

Going back from the end of a stage, windows tell how many columns of each tensor a strip needs; rows
are as in a stream of one tile. All strips are traced at once; the widest counts for memory, their
sum for work. Where the stage begins makes no difference to what lies behind, so one trace serves
all beginnings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from toolchain.ir.graph import Graph
from toolchain.ir.tensor import Tensor
from toolchain.ops.window import AxisMap
from toolchain.plan.rows import RowWork
from toolchain.plan.tiles import cut, tileable

_COLUMNS = 2
_COUNTS = (2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48)

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Strips:
    """Strips that end with one step.

    Attributes:
        count: number of strips.
        first: no stage of these strips begins before this step.
        widths: columns of each tensor that the widest strip needs.
        macs: per step, multiply-accumulates beyond those of the whole map.
    """

    count: int
    first: int
    widths: Mapping[str, int]
    macs: Mapping[int, int]


class StripTracer:
    """Traces strips of one order of execution.

    Args:
        graph: the graph.
        rows: per step, the node ready to run row by row.
        last: per tensor, the last step that needs it.
    """

    def __init__(
        self, graph: Graph, rows: Sequence[RowWork | None], last: Mapping[str, int]
    ) -> None:
        self.graph, self.rows, self.last = graph, rows, last

    @cached_property
    def tileable(self) -> list[bool]:
        """Return per step whether the node can be cut into columns."""
        return [work is not None and tileable(work) for work in self.rows]

    def ending(self, end: int) -> list[Strips]:
        """Return the strips of stages that end before step ``end``, in growing number."""
        work = self.rows[end - 1]
        if work is None or not self.tileable[end - 1]:
            return []
        width = _anchor(work).shape[_COLUMNS]
        counts = dict.fromkeys(len(cut(width, min(n, width))) for n in (*_COUNTS, width))
        return [self._trace(end, count) for count in sorted(counts) if count > 1]

    def _trace(self, end: int, count: int) -> Strips:
        spans: dict[str, tuple[Ints, Ints]] = {}
        macs: dict[int, int] = {}
        step = end
        while step > 0 and self._extend(step - 1, end, count, spans, macs):
            step -= 1
        widths = {name: int((high - low).max()) for name, (low, high) in spans.items()}
        return Strips(count, step, widths, macs)

    def _extend(
        self,
        step: int,
        end: int,
        count: int,
        spans: dict[str, tuple[Ints, Ints]],
        macs: dict[int, int],
    ) -> bool:
        """Let the strips begin one step earlier; tell whether they can."""
        work = self.rows[step]
        if work is None or not self.tileable[step] or (work.folds and work.output.name in spans):
            return False
        target = _anchor(work)
        if work.folds or self.last[target.name] >= end or target.name not in spans:
            ranges = cut(target.shape[_COLUMNS], count)
            if len(ranges) != count:
                return False
            low, high = (np.array(bounds, np.int64) for bounds in zip(*ranges, strict=True))
            _widen(spans, target.name, low, high)
        if work.folds:
            macs[step] = 0
            return True
        low, high = spans[target.name]
        windows = work.node.op.windows(work.operands)
        for x, window in zip(work.operands.activations, windows, strict=True):
            first, behind = _needs(window.axes[_COLUMNS], low, high, x.shape[_COLUMNS])
            if (first >= behind).any():
                return False
            _widen(spans, x.name, first, behind)
        width = target.shape[_COLUMNS]
        macs[step] = work.node.op.macs(work.operands) * int((high - low).sum() - width) // width
        return True


def _anchor(work: RowWork) -> Tensor:
    """Return the map whose columns are cut where a stage ends with this node."""
    return work.operands.input(0) if work.folds else work.output


def _needs(axis: AxisMap, low: Ints, high: Ints, size: int) -> tuple[Ints, Ints]:
    ranges = [axis.needs(int(a), int(b)) for a, b in zip(low, high, strict=True)]
    first, behind = (np.array(bounds, np.int64) for bounds in zip(*ranges, strict=True))
    return np.maximum(first, 0), np.minimum(behind, size)


def _widen(spans: dict[str, tuple[Ints, Ints]], name: str, low: Ints, high: Ints) -> None:
    if name in spans:
        low, high = np.minimum(low, spans[name][0]), np.maximum(high, spans[name][1])
    spans[name] = low, high
