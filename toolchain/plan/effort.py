"""Effort: how far a search for plans goes, who follows it, and what ends it early."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from toolchain.plan.plan import Plan


@dataclass(frozen=True)
class Effort:
    """Limits of a search, all in counts: equal problems have equal plans on every machine.

    Attributes:
        broad: whether several orders of execution are tried.
        points: at most so many points of a front, and as many where things are computed twice.
        tries: plans laid out before a limit of memory is given up.
        climb_steps: changes that a layout's hill climb tries.
        search_nodes: states that a layout's branch and bound visits.
    """

    broad: bool
    points: int
    tries: int
    climb_steps: int
    search_nodes: int


FAST = Effort(broad=False, points=4, tries=3, climb_steps=20, search_nodes=200)
NORMAL = Effort(broad=True, points=12, tries=6, climb_steps=400, search_nodes=2_000)
HIGH = Effort(broad=True, points=40, tries=24, climb_steps=4_000, search_nodes=20_000)
# Each level begins with those below that cost it little, so that more effort is never worse.
LEVELS = {"fast": (FAST,), "normal": (NORMAL,), "high": (NORMAL, HIGH)}


class OutOfTimeError(Exception):
    """The search has taken the seconds that it was given."""


def _silent(_: Plan) -> None:
    pass


@dataclass
class Watch:
    """Follows a search: keeps what it has found and ends it when its time is over.

    Attributes:
        efforts: what to search with, one after the other.
        seconds: when to end, ``None`` for never; then results depend on the machine.
        tell: called for every plan that is found.
        plans: the plans found so far.
        ended: ``"its time"`` or ``"Ctrl-C"`` if the search did not come to its end.
    """

    efforts: tuple[Effort, ...] = (NORMAL,)
    seconds: float | None = None
    tell: Callable[[Plan], None] = _silent
    plans: list[Plan] = field(default_factory=list)
    ended: str = ""
    _start: float = field(default_factory=time.monotonic)

    def tick(self) -> None:
        """Say that the search goes on.

        Raises:
            OutOfTimeError: if it must not.
        """
        if self.seconds is not None and time.monotonic() > self._start + self.seconds:
            raise OutOfTimeError

    def found(self, plan: Plan) -> Plan:
        """Keep a plan and return it."""
        self.plans.append(plan)
        self.tell(plan)
        self.tick()
        return plan


def watch_for(text: str, tell: Callable[[Plan], None] = _silent) -> Watch:
    """Return the watch for a level's name, or for a number of seconds such as ``"20s"``.

    Raises:
        ValueError: if it is neither.
    """
    if text in LEVELS:
        return Watch(LEVELS[text], tell=tell)
    seconds = float(text.removesuffix("s"))
    if not 0 <= seconds < 1e9:
        raise ValueError(text)
    return Watch((FAST, NORMAL, HIGH), seconds, tell)
