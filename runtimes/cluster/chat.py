"""A conversation with a model: history, room for answers, and what the last turn left cached."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from runtimes.cluster.generate import Event, Experience, Generation, Piece, Request, generate
from runtimes.cluster.launch import OpenModel
from runtimes.cluster.prefix import PrefixCache
from runtimes.cluster.sampling import Sampling
from runtimes.cluster.tokenizer import Tokenizer, encode_chat

Message = dict[str, str]


@dataclass(frozen=True)
class ChatOptions:
    """How a model answers.

    Attributes:
        system: what it is told first, or empty.
        sampling: how tokens are chosen.
        max_tokens: of an answer; None: until the context is full.
        stop: strings that end an answer.
        guesses: guessed tokens per pass at most.
    """

    system: str = ""
    sampling: Sampling = field(default_factory=Sampling)
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    guesses: int = 8


def answer_stops(tokenizer: Tokenizer) -> tuple[str, ...]:
    """Stop strings of models without a chat template: they go on to speak for the user."""
    return () if tokenizer.chat_template else ("\nUser:", "\nSystem:")


class Conversation:
    """Turns of a user and a model.

    Args:
        opened: the model.
        options: how it answers.

    Attributes:
        messages: so far, the system message first.
        dropped: messages forgotten so that the rest fits the context.
    """

    def __init__(self, opened: OpenModel, options: ChatOptions) -> None:
        self._opened = opened
        self._options = options
        self._slots = PrefixCache(1)
        self._experience = Experience()
        self.messages: list[Message] = []
        self.dropped = 0
        self.reset()

    def reset(self) -> None:
        """Forget everything that was said."""
        system = self._options.system
        self.messages = [{"role": "system", "content": system}] if system else []
        self.dropped = 0

    def ask(self, text: str, cancelled: Callable[[], bool] = lambda: False) -> Iterator[Event]:
        """Say something and stream the answer, which joins the history however it ends.

        Args:
            text: the user's message.
            cancelled: asked before every pass.

        Yields:
            Events of the generation.

        Raises:
            UsageError: E130, the message alone is longer than the context.
            DeviceError: E520, the cluster is lost.
        """
        self.messages.append({"role": "user", "content": text})
        try:
            generation, slot = self._begin()
        except Exception:
            self.messages.pop()
            raise
        answer = ""
        try:
            while generation.finish is None:
                for event in generation.cancel() if cancelled() else generation.step():
                    answer += event.text if isinstance(event, Piece) else ""
                    yield event
        finally:
            self._slots.release(slot, generation.tokens[: generation.cached])
            self.messages.append({"role": "assistant", "content": answer.strip()})

    def _begin(self) -> tuple[Generation, int]:
        options, tokenizer = self._options, self._opened.tokenizer
        prompt = self._prompt()
        request = Request(
            tuple(prompt),
            options.sampling,
            max_tokens=options.max_tokens,
            stop=options.stop + answer_stops(tokenizer),
            guesses=options.guesses,
        )
        lease = self._slots.acquire(prompt)
        if lease is None:
            raise RuntimeError("a conversation answers one question at a time")
        try:
            generation = Generation(
                *(self._opened.model, tokenizer, request),
                slot=lease.slot,
                cached=lease.cached,
                experience=self._experience,
            )
        except BaseException:
            self._slots.release(lease.slot, ())
            raise
        return generation, lease.slot

    def _prompt(self) -> list[int]:
        """Tokens of the history; the oldest turns go until a quarter of the context is free."""
        capacity = self._opened.model.capacity
        room = min(self._options.max_tokens or capacity, capacity // 4)
        prompt = encode_chat(self._opened.tokenizer, self.messages)
        first = 1 if self._options.system else 0
        while len(prompt) + room > capacity and len(self.messages) > first + 2:
            del self.messages[first : first + 2]
            self.dropped += 2
            prompt = encode_chat(self._opened.tokenizer, self.messages)
        return prompt


def complete(opened: OpenModel, text: str, options: ChatOptions) -> Iterator[Event]:
    """Let a model continue a text.

    Raises:
        UsageError: E130, the text is longer than the context.
    """
    request = Request(
        tuple(opened.tokenizer.encode(text)),
        options.sampling,
        max_tokens=options.max_tokens,
        stop=options.stop,
        continues=True,
        guesses=options.guesses,
    )
    return generate(opened.model, opened.tokenizer, request)
