"""What values the tensors of a float graph take on sample inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from toolchain.errors import UsageError
from toolchain.ir import Array, DType, Graph
from toolchain.quantization.ranges import METHODS, Range
from toolchain.reference import trace_float

__all__ = ["METHODS", "Statistics", "calibrate"]

_BINS = 2048

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
    """

    low: float
    high: float
    counts: npt.NDArray[np.float64]
    channel_means: npt.NDArray[np.float64]

    @property
    def range(self) -> Range:
        """Return least and greatest value."""
        return Range(self.low, self.high)


def calibrate(graph: Graph, cases: Cases) -> Mapping[str, Statistics]:
    """Run ``graph`` on ``cases`` twice, for the ranges and for histograms within them.

    Args:
        graph: a float graph.
        cases: at least one array per graph input each, float32.

    Raises:
        UsageError: E115 if there are no cases or a tensor takes a value that is not finite.
    """
    if not cases:
        raise UsageError("E115", "there is no calibration data")
    names = [n for n, t in graph.tensors.items() if not t.is_constant and t.dtype is DType.FLOAT32]
    ranges = _ranges(graph, cases, names)
    counts = {name: np.zeros(_BINS) for name in names}
    sums: dict[str, Array] = {name: np.zeros(1) for name in names}
    for case in cases:
        values = trace_float(graph, case)
        for name in names:
            x = values[name]
            bounds = _bounds(ranges[name])
            counts[name] += np.histogram(x[x != 0], _BINS, bounds)[0]
            sums[name] = sums[name] + x.reshape(-1, x.shape[-1] if x.ndim else 1).mean(axis=0)
    return {
        name: Statistics(*ranges[name], counts[name], sums[name] / len(cases)) for name in names
    }


def require_finite(value: float, tensor: str, case: int) -> None:
    """Raise E115 if ``value``, the sum of some values of a tensor, is not finite."""
    if not np.isfinite(value):
        raise UsageError(
            "E115",
            f"case {case} makes values that are not finite (NaN or infinite)",
            where=f'tensor "{tensor}"',
        )


def _bounds(low_high: Range) -> tuple[float, float]:
    low, high = low_high
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _ranges(graph: Graph, cases: Cases, names: Sequence[str]) -> dict[str, Range]:
    lows, highs = dict.fromkeys(names, np.inf), dict.fromkeys(names, -np.inf)
    for number, case in enumerate(cases):
        values = trace_float(graph, case)
        for name in names:
            low, high = float(values[name].min()), float(values[name].max())
            require_finite(low + high, name, number)
            lows[name], highs[name] = min(lows[name], low), max(highs[name], high)
    return {name: Range(lows[name], highs[name]) for name in names}
