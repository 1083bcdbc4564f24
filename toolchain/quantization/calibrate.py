"""What values the tensors of a float graph take on sample inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from toolchain.errors import UsageError
from toolchain.ir import Array, DType, Graph
from toolchain.ops import Conv2D, DepthwiseConv2D, FullyConnected, Softmax, TransposeConv
from toolchain.quantization.ranges import METHODS, Range
from toolchain.reference import trace_float

__all__ = ["METHODS", "Statistics", "calibrate"]

_BINS = 2048
_ROWS = 2048  # of what a softmax reads
_WEIGHTED = (Conv2D, DepthwiseConv2D, FullyConnected, TransposeConv)
_MOST = 1e15  # whose squares can be summed in float32

Cases = Sequence[Sequence[Array]]


@dataclass(frozen=True, eq=False)
class Statistics:
    """The values that one tensor took.

    Attributes:
        low: least value.
        high: greatest value.
        counts: histogram of equal bins between them, shape (bins,); values of exactly zero, which
            every quantisation represents, are left out.
        channel_means: mean of each slice along the last axis, shape (channels,).
        rows: some of the rows along the last axis that a softmax reads, shape (rows, columns).
    """

    low: float
    high: float
    counts: npt.NDArray[np.float64]
    channel_means: npt.NDArray[np.float64]
    rows: npt.NDArray[np.float32] | None = None

    @property
    def range(self) -> Range:
        """Return least and greatest value."""
        return Range(self.low, self.high)


def calibrate(graph: Graph, cases: Cases, *, histograms: bool = True) -> Mapping[str, Statistics]:
    """Run ``graph`` on ``cases`` for the ranges, and again for histograms within them.

    Args:
        graph: a float graph.
        cases: at least one array per graph input each, float32.
        histograms: whether they are needed; without them counts are zero.

    Raises:
        UsageError: E115 if there are no cases, a tensor takes a value that is not finite, or a
            layer with weights one whose square float32 does not hold.
    """
    if not cases:
        raise UsageError("E115", "there is no calibration data")
    names = [n for n, t in graph.tensors.items() if not t.is_constant and t.dtype is DType.FLOAT32]
    peaked = {n.inputs[0] for n in graph.nodes if isinstance(n.op, Softmax)}
    weighted = {n.inputs[0] for n in graph.nodes if isinstance(n.op, _WEIGHTED)}
    found = {name: _Seen(-(-_ROWS // len(cases)) * (name in peaked)) for name in names}
    for number, case in enumerate(cases):
        values = trace_float(graph, case)
        for name, seen in found.items():
            seen.add(values[name], name, number)
            if name in weighted:
                _require_moderate(seen, name, number)
    counts = {name: np.zeros(_BINS) for name in names}
    for case in cases if histograms else ():
        values = trace_float(graph, case)
        for name, seen in found.items():
            x = values[name]
            # In float32 a narrow range has fewer numbers than bins.
            others = x[x != 0].astype(np.float64)
            counts[name] += np.histogram(others, _BINS, _bounds(seen.low, seen.high))[0]
    return {name: seen.statistics(counts[name], len(cases)) for name, seen in found.items()}


class _Seen:
    """What the values of one tensor have in common so far.

    Attributes:
        kept: how many rows of each case are kept.
    """

    def __init__(self, kept: int) -> None:
        self.low, self.high, self.kept = np.inf, -np.inf, kept
        self.sums: Array = np.zeros(1)
        self.rows: list[Array] = []

    def add(self, values: Array, tensor: str, case: int) -> None:
        """Add the values of one case."""
        rows = values.reshape(-1, values.shape[-1] if values.ndim else 1)
        low, high = float(rows.min()), float(rows.max())
        require_finite(low + high, tensor, case)
        self.low, self.high = min(self.low, low), max(self.high, high)
        with np.errstate(over="ignore"):  # of masks that are the least number
            self.sums = self.sums + rows.mean(axis=0)
        if self.kept:
            self.rows.append(rows[:: -(-len(rows) // self.kept)].copy())

    def statistics(self, counts: npt.NDArray[np.float64], cases: int) -> Statistics:
        """Return all of it."""
        rows = np.concatenate(self.rows) if self.rows else None
        return Statistics(self.low, self.high, counts, self.sums / cases, rows)


def require_finite(value: float, tensor: str, case: int) -> None:
    """Raise E115 if ``value``, the sum of some values of a tensor, is not finite."""
    if not np.isfinite(value):
        raise UsageError(
            "E115",
            f"case {case} makes values that are not finite (NaN or infinite)",
            where=f'tensor "{tensor}"',
        )


def _require_moderate(seen: _Seen, tensor: str, case: int) -> None:
    """Raise E115 if values are too large for the sums of squares that weights are fitted with."""
    most = max(-seen.low, seen.high)
    if most > _MOST:
        raise UsageError(
            "E115",
            f"case {case} makes values up to {most:.3g}; layers with weights take {_MOST:.0g}",
            where=f'tensor "{tensor}"',
            hints=["give the samples in the units that the model was trained with"],
        )


def _bounds(low: float, high: float) -> tuple[float, float]:
    return (low, high) if high > low else (low - 0.5, low + 0.5)
