"""What a device grants is never exceeded: who takes more than 5 % beyond it is killed here."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from runtimes.cluster.deploy import HeadOptions, open_head
from runtimes.cluster.emulate.cluster import EmulatedCluster, worker_command
from runtimes.cluster.shard_folder import write_sparse_shards
from toolchain.cluster.config import ModelConfig

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads memory from /proc")

MODEL = ModelConfig("llama", 1024, 4096, 8, 16, 4, 64, 3200, 512)
MEGABYTE = 1 << 20


def peak_of(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    line = next((line for line in status.splitlines() if line.startswith("VmHWM")), "VmHWM: 0")
    return int(line.split()[1]) << 10


@contextlib.contextmanager
def killing_above(pids, cap):
    """Kill processes whose resident set ever was over ``cap``, as a small device would."""
    over = threading.Event()

    def watch():
        while not over.wait(0.01):
            for pid in pids:
                with contextlib.suppress(OSError):
                    if peak_of(pid) > cap:
                        os.kill(pid, signal.SIGKILL)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


@contextlib.contextmanager
def model_on(folder, ranks, max_ram=0):
    """A head, and the workers ``tessera cluster worker`` with a cap."""
    shards = write_sparse_shards(folder / f"{ranks}-{max_ram}", MODEL, [1.0] * ranks, 8)
    with tempfile.TemporaryDirectory(dir=folder) as caches, contextlib.ExitStack() as stack:
        command = worker_command(Path(caches), [shards], max_ram=max_ram)
        cluster = stack.enter_context(EmulatedCluster(ranks - 1, "", command))
        pids = [process.pid for process in cluster.processes]
        if max_ram:
            stack.enter_context(killing_above(pids, max_ram * 105 // 100))
        options = HeadOptions(capacity=128)
        yield stack.enter_context(open_head(shards.path, cluster.addresses, options)), shards, pids


def test_who_takes_more_than_the_cap_is_killed():
    """The test below can fail."""
    code = "memory = bytearray(100 << 20); print('lives', flush=True); input()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as process:
        process.stdout.readline()
        with killing_above([process.pid], 60 * MEGABYTE):
            assert process.wait(10) == -signal.SIGKILL


@pytest.mark.slow
def test_a_worker_streams_within_its_cap(tmp_path):
    """Weights of 60 MB under a cap that leaves them a third: as many tokens, nobody killed."""
    cap = 76 * MEGABYTE
    with model_on(tmp_path, 2, cap) as (head, shards, pids):
        assert shards.shard(1).stat().st_size > 55 * MEGABYTE
        for position in range(0, 96, 32):
            head.forward(0, range(32), position, rows=1)
        for position in range(96, 112):
            head.forward(0, [7], position)
        assert not head.faults
        assert [*map(peak_of, pids)] < [cap]


@pytest.mark.slow
def test_a_worker_needs_its_shard_and_32_megabytes(tmp_path):
    with model_on(tmp_path, 2) as (head, shards, pids):
        head.forward(0, range(28), 0, rows=1)
        for position in range(28, 36):
            head.forward(0, [7], position)
        assert peak_of(pids[0]) <= shards.shard(1).stat().st_size + 32 * MEGABYTE
