"""Guessing the next tokens so that one pass verifies several: lossless speculation, no draft model.

Two sources of guesses. *Prompt lookup* (Yang et al. 2023, arXiv 2304.04487; Saxena 2023): the last
tokens have occurred before, so what followed them then may follow again. *Token recycling* (Luo et
al. 2024, arXiv 2408.08696): every pass ranks successors of every token it sees, guessed or not; the
best one is remembered and chained.

A pass over n positions reads the weights once and costs one exchange per block, whatever n. How
many guesses pay depends on how often guesses of that source came true and on what a wider pass
costs here; both are measured on the way. None of it can change a token: a guess stands only if it
is what plain decoding chooses from the same logits.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, field

_LONGEST = 4  # tokens that have to repeat before what followed them is guessed again
_SHORTEST = 2
_RECYCLED = 0  # source number of chained successors; above, lengths of repeated n-grams
_MEMORY = 0.1  # weight of the newest observation
_FORGIVENESS = 0.02  # drift of a source that is not used, back to the odds of an unknown one
_UNKNOWN = 0.6


@dataclass
class PassCost:
    """What a pass costs by its number of positions: ``first + (rows - 1) * more`` seconds.

    Attributes:
        first: of a pass over one position; 0 until one was measured.
        more: of each further position, as a fraction of ``first``.
    """

    first: float = 0.0
    more: float = 0.15

    def observe(self, rows: int, seconds: float) -> None:
        """Note a pass."""
        if rows == 1:
            self.first = _blend(self.first or seconds, seconds)
        elif self.first > 0:
            share = (seconds / self.first - 1) / (rows - 1)
            self.more = _blend(self.more, min(max(share, 0.0), 1.0))

    def relative(self, rows: int) -> float:
        """Cost of a pass in passes over one position."""
        return 1 + (rows - 1) * self.more


@dataclass(frozen=True)
class Draft:
    """Guessed tokens.

    Attributes:
        tokens: the guess, perhaps empty.
        source: who guessed.
    """

    tokens: tuple[int, ...] = ()
    source: int = _RECYCLED


@dataclass
class Speculator:
    """Guesses for one sequence.

    Attributes:
        most: guessed tokens per pass at most; 0 never guesses.
        successors: token to its likeliest successor, learned on the way; may be shared by all
            sequences of a model.
        cost: of passes; may be shared as well.
        drafted: tokens guessed so far.
        accepted: of these, tokens that came true.
    """

    most: int
    successors: MutableMapping[int, int] = field(default_factory=dict)
    cost: PassCost = field(default_factory=PassCost)
    drafted: int = 0
    accepted: int = 0
    _tokens: list[int] = field(default_factory=list)
    _after: dict[tuple[int, ...], int] = field(default_factory=dict)  # n-gram: where it ended last
    _odds: dict[int, float] = field(default_factory=dict)  # source: chance of a guessed token

    def extend(self, tokens: Sequence[int]) -> None:
        """Append tokens of the sequence."""
        if self.most == 0:
            return
        for token in tokens:
            end = len(self._tokens)
            for length in range(_SHORTEST, min(_LONGEST, end) + 1):
                self._after[tuple(self._tokens[end - length :])] = end
            self._tokens.append(token)

    def draft(self, limit: int) -> Draft:
        """Guess what follows.

        Args:
            limit: tokens at most.
        """
        limit = min(limit, self.most)
        if limit <= 0 or not self._tokens:
            return Draft()
        source, guess = self._guess(limit)
        count = self._worthwhile(source, len(guess))
        if count == 0:
            odds = self._odds.get(source, _UNKNOWN)
            self._odds[source] = odds + _FORGIVENESS * (_UNKNOWN - odds)
        return Draft(tuple(guess[:count]), source)

    def learn(self, draft: Draft, accepted: int, seconds: float | None) -> None:
        """Note how a draft fared.

        Args:
            draft: what was verified.
            accepted: how many of its tokens came true.
            seconds: of the pass over it and one token more; None if there were others.
        """
        if seconds is not None:
            self.cost.observe(1 + len(draft.tokens), seconds)
        self.drafted += len(draft.tokens)
        self.accepted += accepted
        odds = self._odds.get(draft.source, _UNKNOWN)
        for hit in [1.0] * accepted + [0.0] * (accepted < len(draft.tokens)):
            odds = _blend(odds, hit)
        self._odds[draft.source] = odds

    def recycle(self, tokens: Sequence[int], successors: Sequence[int]) -> None:
        """Remember the likeliest successor of each token.

        Args:
            tokens: (n,) ids that a pass ran over.
            successors: (n,) ids that it found the likeliest behind them.
        """
        if self.most:
            self.successors.update(zip(tokens, successors, strict=True))

    def _guess(self, limit: int) -> tuple[int, list[int]]:
        """Copy after the longest repetition, else chain successors."""
        for length in range(_LONGEST, _SHORTEST - 1, -1):
            start = self._after.get(tuple(self._tokens[-length:]))
            if start is not None and length <= len(self._tokens):
                return length, self._copy(start, limit)
        chain: list[int] = []
        last = self._tokens[-1]
        while len(chain) < limit and (following := self.successors.get(last)) is not None:
            chain.append(following)
            last = following
        return _RECYCLED, chain

    def _copy(self, start: int, limit: int) -> list[int]:
        """Tokens from ``start`` on; behind the end the copy goes on with itself (a cycle)."""
        period = len(self._tokens) - start
        return [self._tokens[start + i % period] for i in range(limit)]

    def _worthwhile(self, source: int, longest: int) -> int:
        """Length with the most tokens per second: (1 + p + ... + p^k) / cost(1 + k)."""
        odds = self._odds.get(source, _UNKNOWN)
        best, best_rate, expected = 0, 1.0, 1.0
        for count in range(1, longest + 1):
            expected += odds**count
            rate = expected / self.cost.relative(1 + count)
            if rate > best_rate:
                best, best_rate = count, rate
        return best


def _blend(old: float, new: float) -> float:
    return (1 - _MEMORY) * old + _MEMORY * new
