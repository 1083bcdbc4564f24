"""From logits to a token: greedy, temperature, top-k, top-p, min-p, with a seed.

Filters run in the order of llama.cpp and transformers: top-k (Fan et al. 2018, arXiv 1805.04833),
top-p (Holtzman et al. 2019, arXiv 1904.09751), min-p (Nguyen et al. 2024, arXiv 2407.01082), all
on the softmax of the logits, then temperature. A token depends only on the seed, its position and
its logits, so a generation that is replayed after a lost device goes on with the same tokens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from runtimes.cluster.arrays import F32
from toolchain.errors import UsageError


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen.

    Attributes:
        temperature: 0 is greedy; above, logits are divided by it.
        top_k: keep that many of the likeliest tokens; 0 keeps all.
        top_p: keep the fewest tokens that hold this probability together; 1 keeps all.
        min_p: keep tokens at least this fraction as likely as the likeliest; 0 keeps all.
        seed: of the random numbers.

    Raises:
        UsageError: E119, a value is out of range.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        limits = {
            "temperature": (0.0, 100.0),
            "top_k": (0, 1 << 24),
            "top_p": (0.0, 1.0),
            "min_p": (0.0, 1.0),
            "seed": (0, (1 << 63) - 1),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not (isinstance(value, (int, float)) and low <= value <= high):
                raise UsageError("E119", f"{name} must be within {low}..{high}, not {value!r:.40}")


def sample(logits: F32, sampling: Sampling, position: int) -> int:
    """Choose the next token.

    Args:
        logits: (vocab,) float32.
        sampling: how.
        position: of the token in its sequence; the random number hangs on it and the seed alone.

    Returns:
        A token id. Greedy takes the first of equals.
    """
    if sampling.temperature == 0:
        return int(logits.argmax())
    ids, probabilities = candidates(logits, sampling)
    draw = np.random.default_rng([sampling.seed, position]).random()
    chosen = np.searchsorted(np.cumsum(probabilities), draw, side="right")
    return int(ids[min(int(chosen), len(ids) - 1)])


def candidates(
    logits: F32, sampling: Sampling
) -> tuple[np.ndarray[tuple[int], np.dtype[np.intp]], np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Tokens that pass all filters, likeliest first, and their probabilities.

    Args:
        logits: (vocab,) float32.
        sampling: how; the temperature is above 0.

    Returns:
        (count,) ids and (count,) probabilities that sum to 1; at least one token.
    """
    wide = logits.astype(np.float64)
    keep = min(sampling.top_k or len(wide), len(wide))
    ids = _likeliest(wide, keep, sampling)
    chances = np.exp(wide[ids] - wide[ids[0]]) / _mass(wide, keep)
    count = len(ids)
    if sampling.top_p < 1:
        before = np.cumsum(chances) - chances  # a token stays if those before it are not enough
        count = max(1, int(np.count_nonzero(before < sampling.top_p)))
    if sampling.min_p > 0:
        count = min(count, int(np.count_nonzero(chances >= sampling.min_p * chances[0])))
    ids = ids[:count]
    return ids, _softmax(wide[ids] / sampling.temperature)


def _likeliest(
    wide: np.ndarray[tuple[int], np.dtype[np.float64]], keep: int, sampling: Sampling
) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Sort the tokens that a filter could keep, without sorting the whole vocabulary.

    Tokens less likely than (1 - top_p) / count hold less than 1 - top_p together, so none of
    them is among the fewest that hold top_p.
    """
    floor = max((1 - sampling.top_p) / keep * _mass(wide, keep), sampling.min_p)
    least = wide.max() + math.log(floor) - 1e-9 if floor > 0 else -math.inf
    if keep < len(wide):
        least = max(least, np.partition(wide, len(wide) - keep)[len(wide) - keep])
    some = np.flatnonzero(wide >= least)
    return some[np.argsort(-wide[some], kind="stable")][:keep]


def _mass(wide: np.ndarray[tuple[int], np.dtype[np.float64]], keep: int) -> float:
    """Sum of e^(x - max) over the ``keep`` largest."""
    largest = wide if keep == len(wide) else np.partition(wide, len(wide) - keep)[-keep:]
    return float(np.exp(largest - largest.max()).sum())


def log_probability(logits: F32, token: int) -> float:
    """Natural logarithm of a token's probability under the plain softmax."""
    wide = logits.astype(np.float64)
    top = float(wide.max())
    return float(wide[token]) - top - math.log(float(np.exp(wide - top).sum()))


def _softmax(
    values: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    weights: np.ndarray[tuple[int], np.dtype[np.float64]] = np.exp(values - values[0])
    weights /= weights.sum()
    return weights
