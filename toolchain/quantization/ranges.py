"""How the range of an activation is chosen from its histogram, and what a range quantises to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from toolchain.ir import Quant

_LEVELS = 255
_WIDE_LEVELS = 2**15 - 1
_WIDE_ROOM = 2.0  # for values that calibration did not see; it costs one bit of fifteen
_PERCENTILE = 99.99
_SHRINKS = np.linspace(0.2, 1.0, 33)

Floats = npt.NDArray[np.float64]


class Range(NamedTuple):
    """Least and greatest real value that a quantisation represents."""

    low: float
    high: float


class Observed(Protocol):
    """A histogram of equal bins between two values."""

    @property
    def low(self) -> float:
        """Return the least value."""

    @property
    def high(self) -> float:
        """Return the greatest value."""

    @property
    def counts(self) -> Floats:
        """Return the histogram."""


def quant_of(chosen: Range) -> Quant:
    """Return the asymmetric int8 quantisation of a range, widened to hold zero exactly."""
    low, high = min(chosen.low, 0.0), max(chosen.high, 0.0)
    scale = (high - low) / _LEVELS
    if not scale > np.finfo(np.float32).tiny:
        return Quant.per_tensor(1.0 / 128, 0)
    return Quant.per_tensor(scale, int(np.clip(round(-128 - low / scale), -128, 127)))


def centred_quant_of(chosen: Range) -> Quant:
    """Return the int16 quantisation of a range around zero, as kernels with 16 bits demand.

    It holds twice the range: beside weights of 8 bits a finer step gains nothing, clipping loses.
    """
    scale = _WIDE_ROOM * max(-chosen.low, chosen.high, 0.0) / _WIDE_LEVELS
    return Quant.per_tensor(scale if scale > np.finfo(np.float32).tiny else 2.0**-15, 0)


def minmax(seen: Observed) -> Range:
    """Return all that was seen."""
    return Range(seen.low, seen.high)


def percentile(seen: Observed) -> Range:
    """Return what is left when 0.01 % of the values are cut off at each end."""
    total = seen.counts.sum()
    if not total:
        return minmax(seen)
    edges = np.linspace(seen.low, seen.high, len(seen.counts) + 1)
    share = np.cumsum(seen.counts) / total
    first = int(np.searchsorted(share, 1 - _PERCENTILE / 100, side="right"))
    last = int(np.searchsorted(share, _PERCENTILE / 100))
    return Range(float(edges[first]), float(edges[min(last + 1, len(edges) - 1)]))


def mse(seen: Observed) -> Range:
    """Return the range with the least mean squared error of rounding and clipping.

    Both ends shrink independently. Reference: R. Banner et al., "Post training 4-bit quantization
    of convolutional networks for rapid-deployment", NeurIPS 2019, section 3.
    """
    centres = _centres(seen)
    lows = _SHRINKS * min(seen.low, 0) if seen.low < 0 else np.zeros(1)
    highs = _SHRINKS * max(seen.high, 0) if seen.high > 0 else np.zeros(1)

    def error(one: Range) -> float:
        step = max((one.high - one.low) / _LEVELS, 1e-30)
        clipped = np.maximum(one.low - centres, 0) + np.maximum(centres - one.high, 0)
        inside = clipped == 0
        return float(seen.counts @ np.where(inside, step**2 / 12, clipped**2))

    candidates = (Range(float(low), float(high)) for low in lows for high in highs)
    return min(candidates, key=error)


def entropy(seen: Observed) -> Range:
    """Return the range whose 256 levels lose the least information (Kullback-Leibler).

    Reference: S. Migacz, "8-bit inference with TensorRT", GTC 2017.
    """
    centres = _centres(seen)

    def divergence(one: Range) -> float:
        step = max((one.high - one.low) / _LEVELS, 1e-30)
        level = np.rint((np.clip(centres, *one) - one.low) / step).astype(int)
        kept = (centres >= one.low) & (centres <= one.high)
        clipped = np.bincount(level, seen.counts, _LEVELS + 1)
        inside = np.bincount(level[kept], seen.counts[kept], _LEVELS + 1)
        filled = np.bincount(level[kept & (seen.counts > 0)], minlength=_LEVELS + 1)
        p = np.where(kept, seen.counts, 0.0)
        # What was cut off stands in the outermost bins of the distribution to be kept.
        places = np.flatnonzero(kept)
        p[places[0]] += seen.counts[centres < one.low].sum()
        p[places[-1]] += seen.counts[centres > one.high].sum()
        q = np.where(kept & (seen.counts > 0), (inside / np.maximum(filled, 1))[level], 0.0)
        used = p > 0
        ratio = p[used] / clipped.sum() / np.maximum(q[used] / max(inside.sum(), 1), 1e-12)
        return float((p[used] / clipped.sum()) @ np.log(ratio))

    if not seen.counts.any():
        return minmax(seen)
    ends = (min(seen.low, 0.0), max(seen.high, 0.0))
    candidates = [Range(float(s * ends[0]), float(s * ends[1])) for s in _SHRINKS]
    usable = [one for one in candidates if ((centres >= one.low) & (centres <= one.high)).any()]
    return min(usable, key=divergence, default=minmax(seen))


def _centres(seen: Observed) -> Floats:
    edges = np.linspace(seen.low, seen.high, len(seen.counts) + 1)
    centres: Floats = (edges[1:] + edges[:-1]) / 2
    return centres


METHODS: Mapping[str, Callable[[Observed], Range]] = {
    "minmax": minmax,
    "percentile": percentile,
    "mse": mse,
    "entropy": entropy,
}
