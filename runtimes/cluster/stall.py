"""Finds out who is to blame when an exchange at the head takes too long.

Killed processes, stopped ones and dead cables end their connection (`PeerGone`). What remains is
a worker whose connection lives while it does nothing, or two workers that cannot reach each other.
The head asks everyone what they wait for: who does not answer although others wait for it is lost.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from runtimes.cluster import messages as m
from runtimes.cluster.crew import Crew, WorkersLost
from runtimes.cluster.links import Peer
from runtimes.cluster.wire import Frame

_LEAST_S = 1.1
_FIRST_PASS_S = 30.0  # cold caches, streaming from a slow disk
_ANSWER_S = 0.4


class StallWatch:
    """The head's `Attendant`.

    Args:
        crew: connections to the workers.
    """

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._workers: tuple[int, ...] = ()
        self._rows = 1
        self._began = 0.0
        self._slowest_s = 0.0  # pass, per row
        self._probed_at: float | None = None
        self._answers: dict[int, tuple[int, ...]] = {}

    def session(self, workers: Sequence[int]) -> None:
        """Begin anew with these workers, devices 1, 2 ... of the session."""
        self._workers = tuple(workers)
        self._slowest_s = 0.0

    def begin(self, rows: int) -> None:
        """Note that a pass over ``rows`` positions begins."""
        self._rows = rows
        self._began = time.monotonic()
        self._probed_at = None

    def end(self) -> None:
        """Note that the pass is over; its time bounds what later ones may take."""
        duration = (time.monotonic() - self._began) / self._rows
        self._slowest_s = max(self._slowest_s, duration)

    def other(self, peer: Peer, frame: Frame) -> None:
        """Take the answer to a probe; a reported failure is raised as `WorkersLost`."""
        message = self._crew.message(peer, frame)
        if isinstance(message, m.Status) and message.epoch == self._crew.epoch:
            self._answers[self._workers.index(self._crew.index(peer)) + 1] = message.waiting

    def waiting(self, seconds: float, devices: frozenset[int]) -> None:
        """Ask, then blame.

        Args:
            seconds: how long the head has waited.
            devices: for whom.

        Raises:
            WorkersLost: E520, with those to blame.
        """
        usual = self._slowest_s * self._rows
        if seconds < (max(_LEAST_S, 2 * usual) if usual else _FIRST_PASS_S):
            return
        now = time.monotonic()
        if self._probed_at is None:
            self._probed_at, self._answers = now, {}
            for worker in self._workers:
                self._crew.tell(worker, m.Probe(self._crew.epoch))
        elif now - self._probed_at > _ANSWER_S:
            blamed = [self._workers[device - 1] for device in self._blame(devices)]
            raise WorkersLost(blamed, self._crew.silent(blamed))

    def _blame(self, devices: frozenset[int]) -> list[int]:
        """Devices that are awaited and deaf, else the one that most others wait for."""
        awaited = Counter(devices)
        for waiting in self._answers.values():
            awaited.update(device for device in waiting if 0 < device <= len(self._workers))
        deaf = [device for device in awaited if device not in self._answers]
        return sorted(deaf) if deaf else [awaited.most_common(1)[0][0]]
