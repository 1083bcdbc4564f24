"""A lost worker costs a pause, not the generation."""

import os
import signal
import threading
import time

import pytest
from network_cluster import (
    SMALL,
    WorkerProcess,
    deployment,
    open_engine,
    synthetic,
    workers,
    write_shards,
)

from runtimes.cluster.arrays import array_of
from runtimes.cluster.exchange import Topology
from runtimes.cluster.head import Head
from runtimes.cluster.placement import HEAD
from runtimes.cluster.wire import Encoding
from toolchain.errors import DeviceError

PROMPT = [5, 17, 3, 90, 41]
COUNT = 12


def nothing(_):
    pass


def generate(head, count=COUNT, each=nothing):
    """Greedy tokens."""
    tokens, position = PROMPT, 0
    out = []
    for i in range(count):
        each(i)
        logits = array_of(head.forward(0, tokens, position, rows=1))
        position += len(tokens)
        tokens = [int(logits[0].argmax())]
        out += tokens
    return out


def expected_tokens(tmp_path, weights, **options):
    source, shards = write_shards(tmp_path / "whole", weights, **synthetic())
    with workers(tmp_path / "e", len(weights) - 1) as running:
        plan = deployment(source, shards, [w.at() for w in running], **options)
        with Head(plan, open_engine) as head:
            return generate(head)


@pytest.fixture(autouse=True)
def _folders(tmp_path):
    (tmp_path / "e").mkdir()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("topology", list(Topology))
def test_lost_worker_is_noticed_and_the_tokens_stay_the_same(tmp_path, number, topology):
    weights = [1, 2, 1]
    expected = expected_tokens(tmp_path, weights, topology=topology)
    model = synthetic(delay_s=0.01)
    source, shards = write_shards(tmp_path / "shards", weights, **model)
    with workers(tmp_path, 2) as running:
        plan = deployment(source, shards, [w.at() for w in running], topology=topology)
        with Head(plan, open_engine) as head:
            sent = head.sent_bytes
            struck = []

            def strike():  # in the middle of a pass
                struck.append(time.monotonic())
                running[1].signal(number)

            def each(i):
                if i == 5:
                    threading.Timer(0.015, strike).start()

            assert generate(head, each=each) == expected
            (fault,) = head.faults
            noticed = fault.at - struck[0]
            assert noticed < 2.0
            assert head.placement == {0: HEAD, 1: 0, 2: HEAD}
            assert fault.lost == (running[1].address,)
            assert head.sent_bytes == sent
            assert fault.sent_bytes == 0


def test_a_worker_that_hangs_with_its_connections_alive_is_found(tmp_path):
    weights = [1, 1, 1]
    expected = expected_tokens(tmp_path, weights)
    trap = tmp_path / "trap"
    source, shards = write_shards(tmp_path / "shards", weights, **synthetic(delay_s=0.001))
    _, trapped = write_shards(
        tmp_path / "trapped", weights, **synthetic(delay_s=0.001, trap=str(trap))
    )
    with workers(tmp_path, 2) as running:
        mixed = (shards[0], shards[1], trapped[2])
        with Head(deployment(source, mixed, [w.at() for w in running]), open_engine) as head:
            began = []

            def each(i):
                if i == 5:
                    began.append(time.monotonic())
                    trap.touch()

            assert generate(head, each=each) == expected
            (fault,) = head.faults
            assert fault.lost == (running[1].address,)
            assert fault.at - began[0] < 2.0


def test_spare_with_cached_shards_takes_over(tmp_path):
    weights = [1, 1, 1]
    expected = expected_tokens(tmp_path, weights)
    source, shards = write_shards(tmp_path / "shards", weights, **synthetic())
    with workers(tmp_path, 3) as running:
        plan = deployment(source, shards, [w.at() for w in running], standby=True)
        with Head(plan, open_engine) as head:
            sent = head.sent_bytes
            assert sent == 2 * sum(shard.info.size for shard in shards[1:])
            each = {4: lambda: running[0].signal(signal.SIGKILL)}
            assert generate(head, each=lambda i: each.get(i, lambda: None)()) == expected
            assert head.placement == {0: HEAD, 1: 2, 2: 1}
            assert head.sent_bytes == sent


def test_all_workers_lost_one_after_another(tmp_path):
    weights = [1, 1, 1]
    expected = expected_tokens(tmp_path, weights, encoding=Encoding.INT8)
    source, shards = write_shards(tmp_path / "shards", weights, **synthetic())
    with workers(tmp_path, 2) as running:
        plan = deployment(
            source, shards, [w.at() for w in running], encoding=Encoding.INT8, slots=2
        )
        with Head(plan, open_engine) as head:
            head.forward(1, PROMPT, 0)
            strikes = {3: running[0], 7: running[1]}

            def each(i):
                if i in strikes:
                    strikes[i].signal(signal.SIGKILL)

            assert generate(head, each=each) == expected
            assert len(head.faults) == 2
            assert set(head.placement.values()) == {HEAD}


def test_a_worker_that_comes_back_computes_its_rank_again(tmp_path, monkeypatch):
    monkeypatch.setattr("runtimes.cluster.head.RETRY_S", 0.1)
    weights = [1, 1, 1]
    expected = expected_tokens(tmp_path, weights)
    source, shards = write_shards(tmp_path / "shards", weights, **synthetic())
    with workers(tmp_path, 2) as running:
        plan = deployment(source, shards, [w.at() for w in running])
        with Head(plan, open_engine) as head:
            sent, address = head.sent_bytes, running[0].address
            head.forward(0, PROMPT, 0)
            running[0].close()
            head.truncate(0, 0)
            assert generate(head) == expected
            assert head.placement == {0: HEAD, 1: HEAD, 2: 1}
            running[0] = WorkerProcess(tmp_path / "cache-0", listen=address)
            time.sleep(0.2)
            head.truncate(0, 5)  # in the middle of a sequence
            tokens, position = [expected[0]], len(PROMPT)
            for token in expected[1:]:
                tokens = [int(array_of(head.forward(0, tokens, position, rows=1))[0].argmax())]
                position += 1
                assert tokens == [token]
            assert head.placement == {0: HEAD, 1: 0, 2: 1}
            assert head.sent_bytes == sent
            assert len(head.faults) == 1


def test_several_workers_lost_at_once_cost_no_more_than_one(tmp_path):
    weights = [1, 1, 1, 1]
    expected = expected_tokens(tmp_path, weights)
    source, shards = write_shards(tmp_path / "shards", weights, **synthetic())
    with workers(tmp_path, 3) as running:
        plan = deployment(source, shards, [w.at() for w in running])
        with Head(plan, open_engine) as head:
            head.forward(0, PROMPT, 0)
            for worker in running:
                worker.signal(signal.SIGKILL)
            head.truncate(0, 0)
            assert generate(head) == expected
            assert sum(fault.repaired_s for fault in head.faults) < 3.0


def test_a_stopped_worker_is_lost_once(tmp_path):
    """Its port still takes connections, whose handshakes end after three seconds."""
    weights = [1, 1, 1]
    source, shards = write_shards(tmp_path / "shards", weights, **synthetic())
    with workers(tmp_path, 2) as running:
        plan = deployment(source, shards, [w.at() for w in running])
        with Head(plan, open_engine) as head:
            generate(head, 3)
            running[1].signal(signal.SIGSTOP)
            position, end = len(PROMPT) + 2, time.monotonic() + 5.5
            while time.monotonic() < end:
                head.forward(0, [1], position)
                time.sleep(0.1)
            (fault,) = head.faults
            assert fault.error.code == "E520"


def test_no_room_for_the_lost_rank_is_said(tmp_path):
    source, shards = write_shards(tmp_path / "shards", [1, 1], **synthetic())
    with workers(tmp_path, 1) as running:
        plan = deployment(source, shards, [running[0].at()], least_ram=(1000, 1000), head_ram=1500)
        with Head(plan, open_engine) as head:
            head.forward(0, PROMPT, 0)
            running[0].signal(signal.SIGKILL)
            with pytest.raises(Exception, match="no device has room for rank 1") as caught:
                head.forward(0, [1], len(PROMPT))
            assert caught.value.exit_code == 3


def test_worker_outlives_its_head_and_needs_no_bytes_again(tmp_path):
    source, shards = write_shards(tmp_path / "shards", [1, 1], padding=3 << 20, **synthetic())
    with workers(tmp_path, 1) as running:
        plan = deployment(source, shards, [running[0].at()])
        with Head(plan, open_engine) as head:
            first = generate(head)
            assert head.sent_bytes == shards[1].info.size
        child = os.fork()
        if child == 0:  # a head that dies without a word
            Head(plan, open_engine).forward(0, PROMPT, 0)
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)
        with Head(plan, open_engine) as head:
            assert generate(head) == first
            assert head.sent_bytes == 0


def test_second_head_is_told_that_the_worker_is_busy(tmp_path):
    source, shards = write_shards(tmp_path / "shards", [1, 1], **synthetic())
    with workers(tmp_path, 1) as running:
        plan = deployment(source, shards, [running[0].at()])
        with Head(plan, open_engine) as head:
            first = generate(head, 3)
            with pytest.raises(DeviceError, match="serves another head") as caught:
                Head(plan, open_engine)
            assert caught.value.code == "E524"
            head.truncate(0, 0)
            assert generate(head, 3) == first
            assert not head.faults
    assert SMALL.vocab > max(first)
