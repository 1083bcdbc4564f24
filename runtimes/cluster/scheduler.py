"""Several generations take turns on one model: a pass each, round and round.

One thread owns the model; whoever wants an answer submits a request and gets its events by a
callback from that thread. A long prompt is read in small chunks while others wait, so nobody's
stream stalls for longer than a chunk.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from runtimes.cluster.generate import (
    CHUNK,
    Event,
    Experience,
    Finish,
    Generation,
    Piece,
    Request,
    check_fits,
)
from runtimes.cluster.launch import OpenModel
from runtimes.cluster.prefix import PrefixCache
from toolchain.errors import DeviceError, InternalError, TesseraError

SHARED_CHUNK = 32  # prompt tokens per pass while others wait
MAX_WAITING = 64

_log = logging.getLogger("tessera.scheduler")


@dataclass(frozen=True)
class Failure:
    """The end of a generation that could not go on."""

    error: TesseraError


Notice: TypeAlias = Event | Failure
Callback: TypeAlias = Callable[[Notice], None]


@dataclass
class Ticket:
    """A request on its way; `cancel` may be called from any thread.

    Attributes:
        request: what was asked.
    """

    request: Request
    _tell: Callback
    _submitted: float = field(default_factory=time.monotonic)
    _cancelled: bool = False

    def cancel(self) -> None:
        """End it before its next pass."""
        self._cancelled = True


@dataclass
class Totals:
    """What a scheduler has done so far; only its thread writes.

    Attributes:
        finished: generations by how they ended.
        prompt_tokens: of all prompts.
        cached_tokens: of these, not computed again.
        generated_tokens: of all answers.
        drafted_tokens: guessed.
        accepted_tokens: of these, true.
        passes: forward passes.
        busy_seconds: in passes.
        first_token_seconds: waited for first tokens, queue included.
        first_tokens: how many of these.
    """

    finished: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("stop", "length", "cancel", "error"), 0)
    )
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    passes: int = 0
    busy_seconds: float = 0.0
    first_token_seconds: float = 0.0
    first_tokens: int = 0

    def add(self, finish: Finish) -> None:
        """Count a generation that ended."""
        self.finished[finish.reason] += 1
        self.prompt_tokens += finish.prompt_tokens
        self.cached_tokens += finish.cached_tokens
        self.drafted_tokens += finish.drafted
        self.accepted_tokens += finish.accepted


@dataclass
class _Running:
    ticket: Ticket
    generation: Generation
    slot: int
    began: bool = False  # its first token is there


class Scheduler:
    """Runs requests until closed.

    Args:
        opened: the model; used by the scheduler's thread alone from now on.

    Attributes:
        totals: for metrics.
    """

    def __init__(self, opened: OpenModel) -> None:
        self.totals = Totals()
        self._opened = opened
        self._slots = PrefixCache(opened.model.slots)
        self._experience = Experience()
        self._waiting: deque[Ticket] = deque()
        self._running: list[_Running] = []
        self._closed = False
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="generation", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Requests without a slot."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Requests with a slot."""
        return len(self._running)

    def submit(self, request: Request, tell: Callback) -> Ticket:
        """Ask for an answer.

        Args:
            request: what to generate.
            tell: called by the scheduler's thread with every event, at last `Finish` or
                `Failure`; must not block.

        Returns:
            The ticket, to cancel it.

        Raises:
            UsageError: E130, the prompt does not fit the context.
            DeviceError: E134, too many requests wait, or the server is closing.
        """
        check_fits(request, self._opened.model.capacity)
        ticket = Ticket(request, tell)
        with self._change:
            if self._closed or len(self._waiting) >= MAX_WAITING:
                raise DeviceError("E134", f"busy: {len(self._waiting)} requests wait already")
            self._waiting.append(ticket)
            self._change.notify()
        return ticket

    def close(self) -> None:
        """Cancel everything and end the thread; may be called twice."""
        with self._change:
            self._closed = True
            self._change.notify()
        self._thread.join()

    def _run(self) -> None:
        while self._admit():
            for running in list(self._running):
                self._advance(running)
        for running in list(self._running):
            self._end(running, *running.generation.cancel())
        while self._waiting:
            self._refuse(self._waiting.popleft())

    def _admit(self) -> bool:
        """Give free slots to those who wait, sleep without work; False when closed."""
        with self._change:
            while not (self._closed or self._waiting or self._running):
                self._change.wait()
            while self._waiting and not self._closed:
                ticket = self._waiting[0]
                lease = self._slots.acquire(ticket.request.prompt)
                if lease is None:
                    break
                self._waiting.popleft()
                generation = Generation(
                    *(self._opened.model, self._opened.tokenizer, ticket.request),
                    slot=lease.slot,
                    cached=lease.cached,
                    experience=self._experience,
                )
                self._running.append(_Running(ticket, generation, lease.slot))
            return not self._closed

    def _advance(self, running: _Running) -> None:
        """One pass of one generation."""
        if running.ticket._cancelled:
            self._end(running, *running.generation.cancel())
            return
        began = time.perf_counter()
        try:
            events = running.generation.step(CHUNK if len(self._running) == 1 else SHARED_CHUNK)
        except TesseraError as error:
            self._end(running, Failure(error))
            return
        except Exception as error:
            _log.exception("a generation failed")
            self._end(running, Failure(InternalError("E900", f"internal error: {error!r:.200}")))
            return
        self.totals.passes += 1
        self.totals.busy_seconds += time.perf_counter() - began
        self._note_tokens(running, events)
        if running.generation.finish is None:
            self._tell(running.ticket, *events)
        else:
            self._end(running, *events)

    def _note_tokens(self, running: _Running, events: tuple[Event, ...]) -> None:
        tokens = sum(len(event.tokens) for event in events if isinstance(event, Piece))
        self.totals.generated_tokens += tokens
        if tokens and not running.began:
            running.began = True
            self.totals.first_tokens += 1
            self.totals.first_token_seconds += time.monotonic() - running.ticket._submitted

    def _end(self, running: _Running, *notices: Notice) -> None:
        self._running.remove(running)
        generation = running.generation
        failed = any(isinstance(notice, Failure) for notice in notices)
        held = () if failed else generation.tokens[: generation.cached]
        self._slots.release(running.slot, held)
        if generation.finish is not None:
            self.totals.add(generation.finish)
        else:
            self.totals.finished["error"] += 1
        self._tell(running.ticket, *notices)

    def _refuse(self, ticket: Ticket) -> None:
        self.totals.finished["error"] += 1
        self._tell(ticket, Failure(DeviceError("E134", "the server is closing")))

    def _tell(self, ticket: Ticket, *notices: Notice) -> None:
        for notice in notices:
            try:
                ticket._tell(notice)
            except RuntimeError:  # its event loop is closed: nobody waits for the rest
                ticket.cancel()
