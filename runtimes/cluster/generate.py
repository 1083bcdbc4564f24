"""The generation of one answer, as a machine that makes one forward pass per step.

::

    generation = Generation(model, tokenizer, request)
    while generation.finish is None:
        for event in generation.step():      # Progress, Piece ..., Finish
            ...

A prompt goes through in chunks: memory stays bounded, others get their turn between two chunks,
and a cancelled prompt costs one chunk at most. Then every pass verifies guessed tokens
(`runtimes.cluster.speculate`) and gives at least one more. A token is chosen from its logits, its
position and the seed alone, so neither guessing, nor a prefix that was cached, nor neighbours in
other slots change the text.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Literal, TypeAlias

from runtimes.cluster.buffers import Rows
from runtimes.cluster.forward import Forward
from runtimes.cluster.sampling import Sampling, open_sampler
from runtimes.cluster.speculate import PassCost, Speculator
from runtimes.cluster.stops import StopFilter
from runtimes.cluster.tokenizer import Tokenizer
from toolchain.errors import UsageError

CHUNK = 128  # prompt tokens per pass
GUESSES = 8

Reason: TypeAlias = Literal["stop", "length", "cancel"]


@dataclass(frozen=True)
class Request:
    """What to generate.

    Attributes:
        prompt: token ids, at least one.
        sampling: how tokens are chosen.
        max_tokens: generated tokens at most; None: until the context is full.
        stop: the text ends before the first of these.
        continues: the text goes on where the prompt ends (a completion) rather than beginning
            anew (an answer): it decides about a space before the first word.
        ignore_end: go on when the model ends its answer (measurements).
        guesses: guessed tokens per pass at most; 0 decodes token by token.

    Raises:
        UsageError: E131, a value is out of range.
    """

    prompt: tuple[int, ...]
    sampling: Sampling = field(default_factory=Sampling)
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    continues: bool = False
    ignore_end: bool = False
    guesses: int = GUESSES

    def __post_init__(self) -> None:
        if not self.prompt:
            raise UsageError("E131", "the prompt has no tokens")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise UsageError("E131", f"max_tokens must be at least 1, not {self.max_tokens}")
        if not all(self.stop):
            raise UsageError("E131", "a stop string is empty")
        if not 0 <= self.guesses <= 64:
            raise UsageError("E131", f"guesses must be within 0..64, not {self.guesses}")


@dataclass(frozen=True)
class Progress:
    """Part of a prompt was read.

    Attributes:
        done: prompt tokens read.
        total: prompt tokens.
    """

    done: int
    total: int


@dataclass(frozen=True)
class Piece:
    """Generated tokens, and the text that they completed (perhaps none)."""

    tokens: tuple[int, ...]
    text: str


@dataclass(frozen=True)
class Finish:
    """The end of a generation.

    Attributes:
        reason: ``stop`` the model or a stop string ended it, ``length`` a limit, ``cancel``.
        prompt_tokens: of the prompt.
        cached_tokens: of these, not computed again.
        generated_tokens: without the one that ends an answer.
        drafted: guessed tokens.
        accepted: of these, tokens that came true.
    """

    reason: Reason
    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int
    drafted: int
    accepted: int


Event: TypeAlias = Progress | Piece | Finish


@dataclass
class Experience:
    """What generations of one model learn for each other: it makes them faster, never different."""

    successors: MutableMapping[int, int] = field(default_factory=dict)
    cost: PassCost = field(default_factory=PassCost)


def check_fits(request: Request, capacity: int) -> None:
    """Refuse a prompt that leaves no room for an answer.

    Raises:
        UsageError: E130.
    """
    if len(request.prompt) >= capacity:
        raise UsageError(
            "E130",
            f"the prompt has {len(request.prompt)} tokens, the context {capacity}:"
            " no room is left for an answer",
            numbers={"prompt": len(request.prompt), "context": capacity},
            hints=["shorten the prompt, or give the context more room: --context TOKENS"],
        )


class Generation:
    """One answer in the making.

    Args:
        model: runs tokens; its slot is this generation's alone until it is finished.
        tokenizer: of the model.
        request: what to generate.
        slot: of the model.
        cached: leading prompt tokens whose keys and values the slot holds.
        experience: shared by the generations of a model.

    Attributes:
        tokens: prompt and generated tokens.
        cached: leading tokens whose keys and values the slot holds now.
        finish: how it ended; None while it goes on.

    Raises:
        UsageError: E130, the prompt does not fit the context.
    """

    def __init__(
        self,
        model: Forward,
        tokenizer: Tokenizer,
        request: Request,
        *,
        slot: int = 0,
        cached: int = 0,
        experience: Experience | None = None,
    ) -> None:
        check_fits(request, model.capacity)
        experience = experience or Experience()
        self.tokens = list(request.prompt)
        self.cached = min(cached, len(request.prompt) - 1)  # logits need a token to run
        self.finish: Finish | None = None
        self._model = model
        self._request = request
        self._slot = slot
        self._reused = self.cached
        self._sampler = open_sampler()
        self._end = frozenset() if request.ignore_end else frozenset(tokenizer.eos)
        self._stops = StopFilter(request.stop)
        self._speculator = Speculator(request.guesses, experience.successors, experience.cost)
        self._speculator.extend(request.prompt)
        self._decoder = tokenizer.stream()
        if request.continues:
            for token in request.prompt:
                self._decoder.push(token)
        room = model.capacity - len(request.prompt)
        self._limit = len(request.prompt) + min(room, request.max_tokens or room)
        self._generated = 0

    def step(self, chunk: int = CHUNK) -> tuple[Event, ...]:
        """Make one forward pass.

        Args:
            chunk: prompt tokens at most.

        Returns:
            What came of it; the last event of a generation is `Finish`.

        Raises:
            DeviceError: E520, the cluster is lost.
        """
        if self.finish is not None:
            return ()
        pending = self.tokens[self.cached :]
        if len(pending) > chunk:
            self._model.forward(self._slot, pending[:chunk], self.cached, rows=0)
            self.cached += chunk
            return (Progress(self.cached, len(self.tokens)),)
        return self._decode(pending)

    def cancel(self) -> tuple[Event, ...]:
        """End it before the next step."""
        if self.finish is not None:
            return ()
        return (self._finish("cancel"),)

    def _decode(self, pending: list[int]) -> tuple[Event, ...]:
        """Run the tokens that have not been run and guesses behind them; keep what is right."""
        draft = self._speculator.draft(self._limit - len(self.tokens) - 1)
        ran = [*pending, *draft.tokens]
        began = time.perf_counter()
        logits = self._model.forward(self._slot, ran, self.cached, rows=1 + len(draft.tokens))
        seconds = time.perf_counter() - began
        chosen = self._verify(logits, draft.tokens)
        # a pass over the end of a prompt says nothing about the cost of later ones
        self._speculator.learn(draft, len(chosen) - 1, seconds if len(pending) == 1 else None)
        self._recycle(ran[-len(logits) :], logits)
        self.cached = len(self.tokens) + len(chosen) - 1
        return self._take(chosen)

    def _verify(self, logits: Rows, guesses: Sequence[int]) -> list[int]:
        """Choose tokens as plain decoding would, as far as the guesses before them were right."""
        chosen: list[int] = []
        for row, guess in zip_longest(range(len(logits)), guesses):
            position = len(self.tokens) + row
            rows = logits.part(row, row + 1)
            chosen.append(self._sampler.choose(rows, self._request.sampling, position))
            if chosen[-1] != guess:
                break
        return chosen

    def _recycle(self, tokens: Sequence[int], logits: Rows) -> None:
        """Remember what is likeliest behind each token that a pass ran over."""
        if self._request.guesses:
            self._speculator.recycle(tokens, self._sampler.likeliest(logits))

    def _take(self, chosen: list[int]) -> tuple[Event, ...]:
        """Append tokens one by one until something ends the generation."""
        taken: list[int] = []
        text = ""
        reason: Reason | None = None
        stopped = False
        for token in chosen:
            self.tokens.append(token)
            if token in self._end:
                reason = "stop"
                break
            taken.append(token)
            shown, stopped = self._stops.push(self._decoder.push(token))
            text += shown
            if stopped or len(self.tokens) == self._limit:
                reason = "stop" if stopped else "length"
                break
        self._generated += len(taken)
        self._speculator.extend(taken)
        self.cached = min(self.cached, len(self.tokens))
        if reason is not None and not stopped:
            text += self._held_back()
        piece = (Piece(tuple(taken), text),) if taken or text else ()
        return piece if reason is None else (*piece, self._finish(reason))

    def _held_back(self) -> str:
        """Text that might have become a stop string or a character, and now will not."""
        text, stopped = self._stops.push(self._decoder.finish())
        return text if stopped else text + self._stops.finish()

    def _finish(self, reason: Reason) -> Finish:
        self.finish = Finish(
            reason,
            prompt_tokens=len(self._request.prompt),
            cached_tokens=self._reused,
            generated_tokens=self._generated,
            drafted=self._speculator.drafted,
            accepted=self._speculator.accepted,
        )
        return self.finish


def generate(
    model: Forward, tokenizer: Tokenizer, request: Request, *, slot: int = 0
) -> Iterator[Event]:
    """Generate one answer; see `Generation`.

    Yields:
        Events, the last of which is `Finish`.

    Raises:
        UsageError: E130, the prompt does not fit the context.
    """
    generation = Generation(model, tokenizer, request, slot=slot)
    while generation.finish is None:
        yield from generation.step()


def text_of(events: Iterator[Event]) -> str:
    """Join the text of all pieces."""
    return "".join(event.text for event in events if isinstance(event, Piece))
