"""Measures a model as it runs: first token, tokens per second, and where the time goes.

Plain decoding and decoding with guesses take turns on the same prompt, so that a machine that
slows down slows both: their ratio is the median over rounds.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from runtimes.cluster.forward import Forward
from runtimes.cluster.generate import Experience, Finish, Generation, Piece, Request
from runtimes.cluster.timing import Clock


@dataclass(frozen=True)
class Run:
    """One generation, timed.

    Attributes:
        first_token_s: from the prompt to the first token.
        seconds: from the first token to the last.
        passes_s: of each pass after the first token.
        tokens: generated, in order.
        engine_s: of ``seconds``, in this device's engines.
        disk_s: of ``engine_s``, waiting for weights.
        drafted: tokens guessed.
        accepted: of these, true.
    """

    first_token_s: float
    seconds: float
    passes_s: tuple[float, ...]
    tokens: tuple[int, ...]
    engine_s: float
    disk_s: float
    drafted: int
    accepted: int

    @property
    def tokens_per_s(self) -> float:
        """Tokens after the first one, per second."""
        return (len(self.tokens) - 1) / self.seconds


@dataclass(frozen=True)
class Measurement:
    """All rounds.

    Attributes:
        plain: token by token.
        guessed: with guesses; the same tokens.
    """

    plain: tuple[Run, ...]
    guessed: tuple[Run, ...]

    @property
    def first_token_s(self) -> float:
        """Median over all rounds."""
        return statistics.median(run.first_token_s for run in (*self.plain, *self.guessed))

    @property
    def token_s(self) -> float:
        """Median of all plain tokens."""
        return statistics.median(t for run in self.plain for t in run.passes_s)

    @property
    def speedup(self) -> float:
        """Plain time over guessed time, the median of rounds; 1 without guesses.

        A round whose guesses all came with the first token tells nothing.
        """
        pairs = zip(self.plain, self.guessed, strict=False)
        ratios = [plain.seconds / fast.seconds for plain, fast in pairs if fast.seconds > 0]
        return statistics.median(ratios or [1.0])

    def split(self) -> dict[str, float]:
        """Seconds per plain token: compute, disk, exchange (with all else outside the engines).

        Of the round of median length, so that one hiccup does not stand for all.
        """
        run = sorted(self.plain, key=lambda run: run.seconds)[len(self.plain) // 2]
        compute, exchange = run.engine_s - run.disk_s, run.seconds - run.engine_s
        parts = {"compute_s": compute, "disk_s": run.disk_s, "exchange_s": exchange}
        return {name: seconds / len(run.passes_s) for name, seconds in parts.items()}


class _Silence:
    """A tokenizer for who counts tokens and reads none."""

    bos, eos, chat_template = -1, (), ""

    def encode(self, text: str, *, bos: bool = True, special: bool = False) -> list[int]:
        """Nothing is read."""
        del text, bos, special
        return []

    def decode(self, ids: list[int]) -> str:
        """Nothing is written."""
        del ids
        return ""

    def stream(self) -> _Silence:
        """Decode token by token."""
        return self

    def name_of(self, token: int) -> str:
        """No token has a name."""
        del token
        return ""

    def push(self, token: int) -> str:
        """No token has a text."""
        del token
        return ""

    def finish(self) -> str:
        """Nothing is left."""
        return ""


def measure(
    model: Forward,
    prompt: Sequence[int],
    tokens: int,
    *,
    rounds: int,
    guesses: int,
    clock: Clock,
) -> Measurement:
    """Generate greedily from one prompt again and again.

    Args:
        model: to measure; its slot 0 is used.
        prompt: token ids.
        tokens: generated per round, at least 2.
        rounds: of plain decoding, and of guessed decoding after each.
        guesses: guessed tokens per pass at most; 0 leaves these rounds out.
        clock: of the model's engines.
    """
    plain: list[Run] = []
    guessed: list[Run] = []
    experience = Experience()
    _run(model, Request(tuple(prompt[:2]), max_tokens=2, ignore_end=True), Experience(), clock)
    for _ in range(rounds):
        for most, runs in ((0, plain), (guesses, guessed)):
            if most or runs is plain:
                request = Request(tuple(prompt), max_tokens=tokens, ignore_end=True, guesses=most)
                runs.append(_run(model, request, experience, clock))
    return Measurement(tuple(plain), tuple(guessed))


def _run(model: Forward, request: Request, experience: Experience, clock: Clock) -> Run:
    generation = Generation(model, _Silence(), request, experience=experience)
    tokens: list[int] = []
    passes: list[float] = []
    began = last = first = time.perf_counter()
    engine_s, disk_s = clock.engine_s, clock.disk_s
    while generation.finish is None:
        events = generation.step()
        now = time.perf_counter()
        if tokens:
            passes.append(now - last)
        fresh = [t for event in events if isinstance(event, Piece) for t in event.tokens]
        if fresh and not tokens:
            first, engine_s, disk_s = now, clock.engine_s, clock.disk_s
        tokens += fresh
        last = now
    finish: Finish = generation.finish
    return Run(
        first_token_s=first - began,
        seconds=last - first,
        passes_s=tuple(passes),
        tokens=tuple(tokens),
        engine_s=clock.engine_s - engine_s,
        disk_s=clock.disk_s - disk_s,
        drafted=finish.drafted,
        accepted=finish.accepted,
    )
