"""Generations take turns and do not disturb each other."""

import contextlib
import queue
import threading
from collections import Counter
from itertools import pairwise

import pytest
from generation_models import VOCABULARY, small_model, text_of, tokens_of

from runtimes.cluster.generate import Finish, Piece, Request, generate
from runtimes.cluster.launch import OpenModel
from runtimes.cluster.sampling import Sampling
from runtimes.cluster.scheduler import MAX_WAITING, Failure, Scheduler
from toolchain.errors import DeviceError, UsageError


class Gate:
    """A model whose passes wait until they are let through, and whose order is noted."""

    def __init__(self, model):
        self._model = model
        self.open = threading.Event()
        self.passes = []
        self.fails = False

    def __getattr__(self, name):
        return getattr(self._model, name)

    def forward(self, slot, tokens, position, *, rows=None):
        self.open.wait(20)
        self.passes.append((slot, len(tokens)))
        if self.fails:
            raise DeviceError("E520", "all workers are lost")
        return self._model.forward(slot, tokens, position, rows=rows)


@contextlib.contextmanager
def running(slots=2):
    gate = Gate(small_model(slots=slots))
    with contextlib.closing(Scheduler(OpenModel("small", gate, VOCABULARY))) as scheduler:
        try:
            yield scheduler, gate
        finally:
            gate.open.set()


class Listener:
    """Collects what a scheduler tells."""

    def __init__(self, scheduler, request):
        self.notices = queue.Queue()
        self.ticket = scheduler.submit(request, self.notices.put)

    def all(self):
        notices = [self.notices.get(timeout=20)]
        while not isinstance(notices[-1], Finish | Failure):
            notices.append(self.notices.get(timeout=20))
        return notices


def request(i, **options):
    prompt = (1, *range(10 + i, 14 + i))
    options = {"max_tokens": 15, "ignore_end": True, **options}
    return Request(prompt, Sampling(1.0, seed=i), **options)


def test_many_requests_get_the_text_that_they_get_alone():
    requests = [request(i, guesses=8 * (i % 2)) for i in range(6)]
    with running() as (scheduler, gate):
        listeners = [Listener(scheduler, each) for each in requests]
        gate.open.set()
        answers = [listener.all() for listener in listeners]
        assert scheduler.totals.finished["length"] == 6
        assert scheduler.totals.generated_tokens == 6 * 15
    for each, events in zip(requests, answers, strict=True):
        expected = list(generate(small_model(), VOCABULARY, each))
        assert tokens_of(events) == tokens_of(expected)
        assert text_of(events) == text_of(expected)


def test_everyone_gets_a_pass_in_every_round():
    with running() as (scheduler, gate):
        listeners = [Listener(scheduler, request(i, guesses=0)) for i in (0, 1)]
        gate.open.set()
        for listener in listeners:
            listener.all()
        order = [slot for slot, _ in gate.passes]
        first, last = order.index(1), order[::-1].index(0)
        both = order[first : len(order) - last]  # while both were there
        assert len(both) > 20
        assert all(a != b for a, b in pairwise(both))


def test_a_long_prompt_is_read_in_small_pieces_while_others_wait():
    with running() as (scheduler, gate):
        short = Listener(scheduler, request(0, guesses=0))
        long = Listener(scheduler, Request((1,) * 200, max_tokens=2, ignore_end=True))
        gate.open.set()
        short.all()
        long.all()
        widest = Counter(length for _, length in gate.passes[:6])
        assert max(widest) <= 32


def test_a_request_is_cancelled_while_it_runs_and_while_it_waits():
    with running(slots=1) as (scheduler, gate):
        first = Listener(scheduler, request(0, max_tokens=200))
        second = Listener(scheduler, request(1))
        second.ticket.cancel()
        gate.open.set()
        assert isinstance(first.notices.get(timeout=20), Piece)
        first.ticket.cancel()
        assert first.all()[-1].reason == "cancel"
        assert second.all()[-1].reason == "cancel"
        assert scheduler.totals.finished["cancel"] == 2


def test_a_lost_cluster_fails_the_request_and_not_the_scheduler():
    with running(slots=1) as (scheduler, gate):
        gate.fails = True
        gate.open.set()
        (failure,) = Listener(scheduler, request(0)).all()
        assert failure.error.code == "E520"
        gate.fails = False
        assert Listener(scheduler, request(0)).all()[-1].reason == "length"


def test_a_bug_in_one_generation_is_said_and_survived(caplog):
    with running(slots=1) as (scheduler, gate):
        gate.open.set()
        model, gate._model = gate._model, None
        gate.config, gate.capacity, gate.slots = model.config, model.capacity, 1
        (failure,) = Listener(scheduler, request(0)).all()
        assert failure.error.code == "E900"
        assert "a generation failed" in caplog.text
        gate._model = model
        assert Listener(scheduler, request(0)).all()[-1].reason == "length"


def test_what_cannot_be_served_is_refused_at_once():
    with running(slots=1) as (scheduler, gate):
        with pytest.raises(UsageError, match="no room is left"):
            scheduler.submit(Request((1,) * 300), print)
        listeners = [Listener(scheduler, request(i)) for i in range(MAX_WAITING)]
        with pytest.raises(DeviceError, match="busy") as caught:
            [Listener(scheduler, request(i)) for i in range(2)]
        assert caught.value.code == "E134"
        threading.Timer(0.1, gate.open.set).start()
        scheduler.close()
        ends = [listener.all()[-1] for listener in listeners]
    assert sum(isinstance(end, Failure) for end in ends) >= MAX_WAITING - 1
    with pytest.raises(DeviceError):
        scheduler.submit(request(0), print)
