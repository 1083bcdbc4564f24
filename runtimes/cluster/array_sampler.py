"""Sampling in numpy: what the kernels must equal, and what runs without a compiler.

Everything is a whole number or an elementwise operation of IEEE 754, so there is one result.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from runtimes.cluster.arrays import F32, array_of
from runtimes.cluster.buffers import Rows
from runtimes.cluster.sampling import Sampling

_F64: TypeAlias = npt.NDArray[np.float64]


class ArraySampler:
    """The sampler in numpy; see `runtimes.cluster.sampling.Sampler`."""

    def choose(self, logits: Rows, sampling: Sampling, position: int) -> int:
        """Choose the next token; see `Sampler.choose`."""
        [row] = _numbers(logits)
        best = int(row.argmax())
        if sampling.temperature == 0:
            return best
        below = _below(row)
        with np.errstate(invalid="ignore", over="ignore"):
            spread = below * np.divide(1.0, sampling.temperature)
        weights = np.where(kept(row, sampling), weigh(spread), 0)
        mass = int(weights.sum())
        if mass == 0:  # the logits are no numbers
            return best
        random = np.random.Philox(key=int(sampling.seed), counter=position).random_raw()
        return int(np.searchsorted(weights.cumsum(), int(random) * mass >> 64, side="right"))

    def likeliest(self, logits: Rows) -> list[int]:
        """Return the likeliest token of each row; see `Sampler.likeliest`."""
        tokens: list[int] = _numbers(logits).argmax(1).tolist()
        return tokens


def kept(logits: F32, sampling: Sampling) -> npt.NDArray[np.bool_]:
    """Return which tokens pass all filters.

    Args:
        logits: (vocab,) float32.
        sampling: how; the temperature does not matter.

    Returns:
        (vocab,) of which at least one is true if any logit is finite.
    """
    below = _below(logits)
    order = np.argsort(-logits, kind="stable")
    order = order[: sampling.top_k or None]
    weights = weigh(below)[order]
    if sampling.top_p < 1:
        mass = int(weights.sum())
        enough = min(max(math.ceil(sampling.top_p * mass), 1), mass)
        before = weights.cumsum() - weights  # a token stays if those before it are not enough
        order = order[: np.count_nonzero(before < enough)]
    mask = np.zeros(len(logits), np.bool_)
    mask[order] = True
    return np.asarray(mask & (below >= sampling.floor))


def weigh(below: _F64) -> npt.NDArray[np.int64]:
    """Return e^x in units of 2^-40, rounded, 0 for what is no number; x <= 0.

    ``e^x = 2^n e^r`` with ``|r| <= ln 2 / 2``, and ``e^r`` by its Taylor series.
    """
    x = np.where(below > -40, below, -40.0)
    n = np.rint(x * math.log2(math.e))
    r = x - n * math.log(2)
    power = np.full_like(r, 1 / math.factorial(10))
    for degree in range(9, -1, -1):
        power = power * r + 1 / math.factorial(degree)
    return np.rint(power * 2.0**40).astype(np.int64) >> -n.astype(np.int64)


def _numbers(logits: Rows) -> F32:
    """Return (n, vocab) logits, minus infinity in place of what is no number."""
    rows = array_of(logits)
    return np.where(np.isnan(rows), np.float32(-np.inf), rows)


def _below(logits: F32) -> _F64:
    """Return how far logits are from the largest."""
    with np.errstate(invalid="ignore"):
        return logits.astype(np.float64) - np.float64(logits.max())
