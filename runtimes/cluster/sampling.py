"""From logits to a token: greedy, temperature, top-k, top-p, min-p, with a seed.

Filters run in the order of llama.cpp and transformers: top-k (Fan et al. 2018, arXiv 1805.04833),
top-p (Holtzman et al. 2019, arXiv 1904.09751), min-p (Nguyen et al. 2024, arXiv 2407.01082), all
on the softmax of the logits, then temperature. A token depends only on the seed, its position and
its logits, so a generation that is replayed after a lost device goes on with the same tokens.

Probabilities are whole numbers of units of 2^-40 of the likeliest token's, and random numbers come
from a counter (Philox): the kernels and numpy (`runtimes.cluster.array_sampler`) choose the same
tokens, on every machine.
"""

from __future__ import annotations

import ctypes
import math
from array import array
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from runtimes.cluster.buffers import Rows
from runtimes.cluster.native.library import SamplingStruct, load
from toolchain.errors import ToolError, UsageError


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

    @property
    def floor(self) -> float:
        """Natural logarithm of ``min_p``: how far a logit may be from the largest."""
        return math.log(self.min_p) if self.min_p else -math.inf


class Sampler(Protocol):
    """Chooses tokens."""

    def choose(self, logits: Rows, sampling: Sampling, position: int) -> int:
        """Choose the next token.

        Args:
            logits: (1, vocab) float32; what is no number counts as minus infinity.
            sampling: how.
            position: of the token in its sequence; the random number hangs on it and the seed.

        Returns:
            A token id. Greedy takes the first of equals.
        """
        ...

    def likeliest(self, logits: Rows) -> list[int]:
        """Return the token that greedy takes from each row of (n, vocab) float32 logits."""
        ...


@lru_cache(maxsize=2)
def open_sampler(*, kernels: bool = True) -> Sampler:
    """Return the best sampler there is.

    Args:
        kernels: whether to use the C functions if they can be built.
    """
    if kernels:
        try:
            return KernelSampler(load())
        except ToolError:
            pass
    from runtimes.cluster.array_sampler import ArraySampler

    return ArraySampler()


class KernelSampler:
    """The sampler in C; see `Sampler`.

    Args:
        library: the kernels.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self._sample = library.tessera_sample
        self._likeliest = library.tessera_likeliest

    def choose(self, logits: Rows, sampling: Sampling, position: int) -> int:
        """Choose the next token; see `Sampler.choose`."""
        how = SamplingStruct(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            floor=sampling.floor,
            seed=int(sampling.seed),
            top_k=int(sampling.top_k),
        )
        token: int = self._sample(ctypes.byref(how), logits.address, logits.columns, position)
        return token

    def likeliest(self, logits: Rows) -> list[int]:
        """Return the likeliest token of each row; see `Sampler.likeliest`."""
        tokens = array("i", bytes(4 * len(logits)))
        address, _ = tokens.buffer_info()
        self._likeliest(logits.address, len(logits), logits.columns, address)
        return tokens.tolist()
