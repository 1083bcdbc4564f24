"""The link emulator does to bytes what a link does."""

import contextlib
import math
import signal
import socket
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from network_cluster import ROOT, deployment, open_engine, synthetic, write_shards

from runtimes.cluster.arrays import array_of
from runtimes.cluster.emulate.cluster import EmulatedCluster
from runtimes.cluster.emulate.link import LinkSpec, Switch
from runtimes.cluster.head import Head
from toolchain.errors import UsageError

WIRE = (1448 + 90) * 8 / 100e6  # seconds of a full frame at 100 Mbit/s


def command_in(folder):
    def command(worker):
        script = Path(__file__).parent / "network_worker.py"
        code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv = sys.argv[1:];"
        code += "import runpy; runpy.run_path(sys.argv[0], run_name='__main__')"
        cache = folder / f"cache-{worker}"
        return [sys.executable, "-c", code, str(script), "127.0.0.1:0", str(cache)]

    return command


def test_link_spec():
    spec = LinkSpec.parse("1ms,100Mbit,jitter=0.2ms,loss=0.5%")
    assert spec == LinkSpec(1e-3, 12.5e6, 2e-4, 0.005)
    for text in ("", "1ms", "1,100Mbit", "1ms,0Mbit", "1ms,1Mbit,loss=100%", "1ms,1Mbit,x=1ms"):
        with pytest.raises(UsageError, match="not a link"):
            LinkSpec.parse(text)


def arrivals(switch: Switch[int]) -> dict[int, float]:
    """When each item arrives; the switch is emptied."""
    found: dict[int, float] = {}
    while (now := switch.next_event()) < math.inf:
        found |= dict.fromkeys(switch.take(now), now)
    return found


def test_idle_link_takes_latency_and_one_transmission():
    switch: Switch[int] = Switch(LinkSpec.parse("1ms,100Mbit"))
    switch.send(0, 10 * 1448, 5.0, 0, 1, 0.0)
    assert arrivals(switch) == {0: pytest.approx(5.0 + 1e-3 + 10 * WIRE)}


@pytest.mark.parametrize("links", [[(1, 0), (2, 0), (3, 0)], [(0, 1), (0, 2), (0, 3)]])
def test_both_ports_are_shared(links):
    switch: Switch[int] = Switch(LinkSpec.parse("1ms,100Mbit"))
    for item, (sender, receiver) in enumerate(links):
        switch.send(item, 10 * 1448, 0.0, sender, receiver, 0.0)
    expected = {n: 1e-3 + 10 * (n + 1) * WIRE for n in range(3)}
    assert arrivals(switch) == pytest.approx(expected)


def test_all_to_all_in_turns_queues_at_no_port():
    """In turn i, device d sends to d + i: no two frames reach a port at once."""
    switch: Switch[int] = Switch(LinkSpec.parse("1ms,100Mbit"))
    for device in range(4):
        for turn in (1, 2, 3):
            switch.send(10 * device + turn, 10 * 1448, 0.0, device, (device + turn) % 4, 0.0)
    for item, when in arrivals(switch).items():
        assert when == pytest.approx(1e-3 + 10 * WIRE * (item % 10))


@given(st.lists(st.tuples(st.integers(1, 5000), st.floats(0, 0.01)), max_size=30))
def test_a_stream_keeps_its_order(chunks):
    switch: Switch[int] = Switch(LinkSpec.parse("1ms,100Mbit,jitter=5ms,loss=20%"))
    now, last, sent = 0.0, 0.0, []
    for item, (size, gap) in enumerate(chunks):
        now += gap
        sent.append(now)
        last = switch.send(item, size, now, 0, 1, last)
    found = arrivals(switch)
    assert list(found) == list(range(len(chunks)))
    assert all(found[item] >= when + 1e-3 for item, when in enumerate(sent))


def test_relay_carries_every_byte_and_takes_its_time(tmp_path):
    with EmulatedCluster(1, "20ms,100Mbit", command_in(tmp_path)) as cluster:
        host, port = cluster.addresses[0].address.split(":")
        began = time.monotonic()
        with socket.create_connection((host, int(port))) as connection:
            greeting = connection.recv(10)  # ZMTP's signature
        assert greeting[:1] == b"\xff"
        assert time.monotonic() - began >= 0.02


def test_unplugged_worker_is_noticed_within_two_seconds(tmp_path):
    source, shards = write_shards(tmp_path / "shards", [1, 1, 1], **synthetic())
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(EmulatedCluster(2, "0.2ms,1000Mbit", command_in(tmp_path)))
        plan = deployment(source, shards, cluster.addresses)
        head = stack.enter_context(Head(plan, open_engine))
        first = array_of(head.forward(0, [1, 2, 3, 4], 0, rows=1))
        head.forward(0, [5], 4)
        began = time.monotonic()
        cluster.unplug(1)
        again = array_of(head.forward(0, [1, 2, 3, 4], 0, rows=1))
        assert head.faults[0].at - began < 2.0
        assert abs(again - first).max() < 1e-5
        assert head.sent_bytes == sum(shard.info.size for shard in shards[1:])


def test_memory_cap_is_enforced(tmp_path):
    """A worker whose model needs more than its cap fails with one line, it does not swap."""
    config = synthetic()["config"] | {"context": 1 << 20}
    source, shards = write_shards(tmp_path / "shards", [1, 1], config=config, seed=1)
    with EmulatedCluster(1, "", command_in(tmp_path), max_ram=100 << 20) as cluster:
        plan = deployment(source, shards, cluster.addresses, capacity=1 << 20)
        with pytest.raises(Exception, match="out of memory") as caught:
            Head(plan, open_engine)
        assert caught.value.exit_code == 3
        assert cluster.processes[0].poll() is None
        cluster.processes[0].send_signal(signal.SIGCONT)
