"""The link emulator does to bytes what a link does."""

import contextlib
import signal
import socket
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from network_cluster import ROOT, deployment, open_engine, synthetic, write_shards

from runtimes.cluster.emulate.cluster import EmulatedCluster
from runtimes.cluster.emulate.link import Clock, LinkSpec, Port
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


def test_idle_link_takes_latency_and_one_transmission():
    clock = Clock(LinkSpec.parse("1ms,100Mbit"))
    due = clock.due(10 * 1448, 5.0, Port(), Port(), 0.0)
    assert due == pytest.approx(5.0 + 1e-3 + 10 * WIRE)


def test_both_ports_are_shared():
    clock, root = Clock(LinkSpec.parse("1ms,100Mbit")), Port()
    dues = [clock.due(10 * 1448, 0.0, Port(), root, 0.0) for _ in range(3)]
    assert dues == pytest.approx([1e-3 + 10 * n * WIRE for n in (1, 2, 3)])
    out = Port()
    dues = [clock.due(10 * 1448, 0.0, out, Port(), 0.0) for _ in range(3)]
    assert dues == pytest.approx([1e-3 + 10 * n * WIRE for n in (1, 2, 3)])


@given(st.lists(st.tuples(st.integers(1, 5000), st.floats(0, 0.01)), max_size=30))
def test_a_stream_keeps_its_order(chunks):
    clock = Clock(LinkSpec.parse("1ms,100Mbit,jitter=5ms,loss=20%"))
    sender, receiver, now, last = Port(), Port(), 0.0, 0.0
    for size, gap in chunks:
        now += gap
        due = clock.due(size, now, sender, receiver, last)
        assert due >= max(last, now + 1e-3)
        last = due


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
        first = head.forward(0, [1, 2, 3, 4], 0, rows=1)
        head.forward(0, [5], 4)
        began = time.monotonic()
        cluster.unplug(1)
        again = head.forward(0, [1, 2, 3, 4], 0, rows=1)
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
