"""The head of a cluster: embeds, samples, holds the tokens, and survives the loss of workers.

Prompts and tokens never leave it; workers see rows of the residual stream. When a worker is lost
inside a forward pass, the head finds other hosts for its ranks, replays the tokens it holds and
runs the pass again: its caller only notices a pause.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TypeVar

from runtimes.cluster import messages as m
from runtimes.cluster.buffers import Rows
from runtimes.cluster.crew import Crew, WorkersLost
from runtimes.cluster.engine import check_tokens
from runtimes.cluster.formation import Deployment, Formation, Session
from runtimes.cluster.keys import KeyRing
from runtimes.cluster.links import PeerGone
from runtimes.cluster.placement import HEAD
from runtimes.cluster.returning import LONGEST_S, RETRY_S, homeless, is_listening, with_returned
from runtimes.cluster.stall import StallWatch
from runtimes.cluster.step import OpenEngine, receive_logits, run_layers
from runtimes.cluster.wire import Encoding, Header, Kind
from toolchain.errors import DeviceError, TesseraError, UsageError

_ANSWER_S = 5.0
_log = logging.getLogger("tessera.head")
_Result = TypeVar("_Result")
_TAKE_OVER_S = 3.0  # after which a crashed head's connections are certainly closed


@dataclass(frozen=True)
class Fault:
    """One loss and its repair.

    Attributes:
        at: ``time.monotonic()`` of the notice.
        lost: addresses of the workers.
        error: what was noticed.
        repaired_s: seconds from the notice until the replay was done.
        replayed: tokens run again.
        sent_bytes: weight bytes that had to be sent.
    """

    at: float
    lost: tuple[str, ...]
    error: TesseraError
    repaired_s: float
    replayed: int
    sent_bytes: int


class Head:
    """A running cluster.

    Args:
        deployment: what to run where.
        open_engine: makes the engine of a shard file.
        keys: own and accepted CURVE keys; None without encryption.
        on_fault: told about every loss after its repair.

    Raises:
        DeviceError: E520 no answer, E523 key refused, E524 busy with another head, or what a
            worker reported.
        FitError: E311, a device has too little memory.
    """

    def __init__(
        self,
        deployment: Deployment,
        open_engine: OpenEngine,
        *,
        keys: KeyRing | None = None,
        on_fault: Callable[[Fault], None] | None = None,
    ) -> None:
        self.config = deployment.config
        self.deployment = deployment
        self.faults: list[Fault] = []
        self._on_fault = on_fault
        self._tokens: list[list[int]] = [[] for _ in range(deployment.slots)]
        self._excluded: set[int] = set()
        self._home: dict[int, int] = {}
        self._look_at, self._pause_s = 0.0, RETRY_S
        self._crew = Crew(deployment.workers, keys, deployment.shards)
        self._stall = StallWatch(self._crew)
        self._formation = Formation(deployment, self._crew, open_engine, self._stall)
        self._closed = True
        try:
            self._session = self._start()
            self._closed = False
        except WorkersLost as lost:
            self.close()
            raise lost.error from None
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Head:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def sent_bytes(self) -> int:
        """Weight bytes sent to workers so far."""
        return self._crew.sent_bytes

    @property
    def placement(self) -> dict[int, int]:
        """Rank to worker index, `HEAD` for the head itself."""
        return dict(self._session.placed)

    def forward(
        self,
        slot: int,
        tokens: Sequence[int],
        position: int,
        *,
        rows: int | None = None,
    ) -> Rows:
        """Run tokens through the model.

        Args:
            slot: which sequence.
            tokens: (n,) ids; any n, cut into passes here.
            position: of the first one; what was at it and behind it is forgotten.
            rows: of how many of the last tokens the logits are wanted; all by default.

        Returns:
            (rows, vocab) float32 logits.

        Raises:
            UsageError: E112 a token outside the vocabulary, E113 slot or position outside the
                cache.
            DeviceError: E520, workers were lost and nobody can take their ranks.
            FitError: E311, the same for want of memory.
        """
        ids = list(tokens)
        self._check(slot, ids, position)
        wanted = len(ids) if rows is None else min(rows, len(ids))
        self._welcome_back()
        logits = self._safely(lambda: self._run(slot, ids, position, wanted))
        self._tokens[slot][position:] = ids
        return logits

    def truncate(self, slot: int, length: int) -> None:
        """Forget positions ``length`` and later of a slot, on all devices."""
        self._check(slot, [], length)
        del self._tokens[slot][length:]
        self._truncate(slot, length)

    def memory(self) -> dict[str, int]:
        """Peak resident bytes of every worker by address."""
        workers = self._session.hosts[1:]
        answers = self._crew.ask(dict.fromkeys(workers, m.Report(0)), m.Report, _ANSWER_S)
        return {self._crew.addresses[w].address: reply.peak_rss for w, reply in answers.items()}

    def close(self) -> None:
        """Tell the workers that the session is over; they keep their shards and go on."""
        if not self._closed:
            for worker in self._session.hosts[1:]:
                self._crew.tell(worker, m.Leave(self._session.epoch))
        self._closed = True
        self._crew.close()
        self._formation.close()

    def _check(self, slot: int, ids: Sequence[int], position: int) -> None:
        slots, capacity = self.deployment.slots, self.deployment.capacity
        if not 0 <= slot < slots:
            raise UsageError("E113", f"slot {slot} is outside 0..{slots - 1}")
        if not 0 <= position <= len(self._tokens[slot]):
            raise UsageError(
                "E113", f"position {position} in a sequence of {len(self._tokens[slot])} tokens"
            )
        if position + len(ids) > capacity:
            raise UsageError(
                "E113",
                f"{position + len(ids)} tokens do not fit a context of {capacity}",
                numbers={"needed": position + len(ids), "available": capacity},
            )
        check_tokens(self.config, ids)

    def _safely(self, action: Callable[[], _Result]) -> _Result:
        """Run an action; after a loss repair the cluster and run it again."""
        while True:
            try:
                return action()
            except PeerGone as gone:
                self._repair(self._crew.lost(gone))
            except WorkersLost as lost:
                self._repair(lost)

    def _run(self, slot: int, ids: Sequence[int], position: int, wanted: int) -> Rows:
        out = Rows.empty(wanted, self.config.vocab)
        first = len(ids) - wanted  # index of the first token whose logits are wanted
        for start in range(0, len(ids), self._session.rows):
            chunk = ids[start : start + self._session.rows]
            rows = max(0, min(len(chunk), start + len(chunk) - first))
            end = max(0, start + len(chunk) - first)
            self._pass(slot, chunk, position + start, out.part(end - rows, end))
        return out

    def _pass(self, slot: int, ids: Sequence[int], position: int, out: Rows) -> None:
        """One pass over all devices; ``out`` (rows, vocab) takes the logits of the last rows."""
        session = self._session
        session.step = (session.step + 1) & 0xFFFFFFFF
        hidden = self._formation.engines[0].embed(ids)
        header = Header(
            Kind.HIDDEN,
            epoch=session.epoch,
            step=session.step,
            slot=slot,
            position=position,
            rows=len(ids),
            wanted=len(out),
            encoding=Encoding.F32,
            length=len(hidden.memory),
        )
        for peer in session.links.peers.values():
            peer.send(header, hidden.memory.view)
        session.links.begin(session.step)
        self._stall.begin(len(ids))
        hidden = run_layers(
            self._formation.engines,
            session.exchange,
            hidden,
            step=session.step,
            slot=slot,
            position=position,
        )
        if len(out):
            self._gather(hidden.last(len(out)), out)
        self._stall.end()

    def _gather(self, hidden: Rows, out: Rows) -> None:
        """Collect all ranks' classifier rows."""
        session = self._session
        for rank, engine in self._formation.engines.items():
            vocab = self.deployment.shares[rank].vocab
            if len(vocab):
                out.columns_from(vocab.start, engine.logits(hidden))
        for rank, device in session.devices.items():
            if device != 0:
                vocab = self.deployment.shares[rank].vocab
                rows = Rows.empty(len(out), len(vocab))
                receive_logits(session.links, session.step, rank, device, rows.memory.view)
                out.columns_from(vocab.start, rows)

    def _truncate(self, slot: int, length: int) -> None:
        for engine in self._formation.engines.values():
            engine.truncate(slot, length)
        header = Header(Kind.TRUNCATE, epoch=self._session.epoch, slot=slot, position=length)
        for peer in self._session.links.peers.values():
            peer.send(header)

    def _start(self) -> Session:
        """First session: every rank's worker must be there."""
        count = len(self.deployment.shards) - 1
        workers = list(range(len(self.deployment.workers)))
        required, spares = workers[:count], workers[count:]
        if len(required) < count:
            raise UsageError(
                "E143", f"{count + 1} shards need {count} workers, {len(required)} are named"
            )
        answers = self._crew.hello(required, spares, _ANSWER_S)
        began = time.monotonic()
        while any(answer.busy for answer in answers.values()):
            if time.monotonic() - began > _TAKE_OVER_S:
                busy = next(worker for worker, answer in answers.items() if answer.busy)
                address = self._crew.addresses[busy].address
                raise DeviceError("E524", f"worker {address} serves another head")
            time.sleep(0.2)
            answers = self._crew.hello(required, spares, _ANSWER_S)
        missing = [worker for worker in required if worker not in answers]
        if missing:
            raise self._crew.silent(missing)
        if self.deployment.standby:
            self._formation.stock([worker for worker in spares if worker in answers])
        self._home = {0: HEAD, **{worker + 1: worker for worker in required}}
        return self._begin(self._home, answers)

    def _begin(self, previous: dict[int, int], alive: dict[int, m.Welcome]) -> Session:
        session = self._formation.open(previous, alive)
        self._stall.session(session.hosts[1:])
        return session

    def _repair(self, lost: WorkersLost) -> None:
        """Find new hosts for the ranks of lost workers and replay all tokens."""
        began = time.monotonic()
        sent = self.sent_bytes
        names = tuple(self._crew.addresses[worker].address for worker in lost.workers)
        first = lost
        for _ in range(2 * len(self.deployment.workers) + 2):
            try:
                if lost.final:
                    self._excluded.update(lost.workers)
                self._reopen(lost.workers)
                replayed = self._replay()
                break
            except PeerGone as gone:
                lost = self._crew.lost(gone)
            except WorkersLost as again:
                lost = again
        else:
            raise lost.error
        fault = Fault(
            began, names, first.error, time.monotonic() - began, replayed, self.sent_bytes - sent
        )
        self.faults.append(fault)
        self._pause_s = RETRY_S
        self._look_at = time.monotonic() + RETRY_S
        if self._on_fault is not None:
            self._on_fault(fault)

    def _reopen(self, lost: Collection[int]) -> None:
        """Open a new session without the lost workers, and with those that are back."""
        for worker in lost:
            self._crew.hang_up(worker)
        alive = self._greet(lost)
        self._session = self._begin(self._best_placement(alive), alive)

    def _greet(self, lost: Collection[int] = ()) -> dict[int, m.Welcome]:
        """Ask everyone who may be there; those that serve now have time to answer."""
        workers = [w for w in range(len(self._crew.addresses)) if w not in self._excluded]
        serving = [w for w in self._session.hosts[1:] if w in workers and w not in lost]
        doubtful = [w for w in workers if w not in serving]
        answers = self._crew.hello(serving, doubtful, _ANSWER_S)
        return {worker: answer for worker, answer in answers.items() if not answer.busy}

    def _best_placement(self, alive: dict[int, m.Welcome]) -> dict[int, int]:
        return with_returned(self._session.placed, self._home, alive, self.deployment.shards)

    def _welcome_back(self) -> None:
        """Look now and then, ever more rarely, whether lost workers are there again."""
        away = set(homeless(self._session.placed, self._home).values()) - self._excluded
        if not away or time.monotonic() < self._look_at:
            return
        self._pause_s = min(2 * self._pause_s, LONGEST_S)
        self._look_at = time.monotonic() + self._pause_s
        if any(is_listening(self._crew.addresses[worker].address) for worker in away):
            self._safely(self._regroup)

    def _regroup(self) -> None:
        """Give workers that are back their ranks, and replay."""
        alive, before = self._greet(), self._session.placed
        if self._best_placement(alive) == before:
            self._crew.keep(self._session.hosts[1:])
            return
        self._session = self._begin(self._best_placement(alive), alive)
        for worker in set(self._session.placed.values()) - set(before.values()):
            _log.info("%s is back", self._crew.addresses[worker].address)
        self._replay()

    def _replay(self) -> int:
        """Run all tokens that the head holds through the new session."""
        count = 0
        for slot, tokens in enumerate(self._tokens):
            self._truncate(slot, 0)
            if tokens:
                self._run(slot, tokens, 0, 0)
                count += len(tokens)
        return count
