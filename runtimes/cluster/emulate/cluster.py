"""Starts a whole cluster on this machine: workers as processes, a relay for their links."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

from runtimes.cluster.crew import WorkerAddress
from runtimes.cluster.emulate.link import LinkSpec
from runtimes.cluster.shard_folder import ShardFolder
from runtimes.cluster.transfer import StoredShard, stock
from toolchain.cluster.ram import PROCESS_BYTES
from toolchain.errors import DeviceError, FitError

_STACKS = 40 << 20  # address space that thread stacks reserve and never touch
_SLACK = 1.05

WorkerCommand = Callable[[int], Sequence[str]]


def worker_command(
    caches: Path, shards: Sequence[ShardFolder] = (), *, max_ram: int = 0
) -> WorkerCommand:
    """Return what starts ``tessera cluster worker`` as an emulated device.

    Args:
        caches: folder for the caches of all workers.
        shards: folders whose shards the workers already have.
        max_ram: bytes each worker may use, 0 for no limit.
    """

    def command(number: int) -> list[str]:
        cache, rank = caches / str(number), number + 1
        for folder in shards:
            stock(cache, StoredShard.of(rank, folder.shard(rank)))
        flags = ["--listen", "127.0.0.1:0", "--cache", str(cache), "--max-ram", str(max_ram)]
        return [sys.executable, "-m", "toolchain", "cluster", "worker", *flags]

    return command


class EmulatedCluster:
    """Workers and links; a context manager.

    Args:
        workers: how many.
        link: as `runtimes.cluster.emulate.link.LinkSpec.parse` reads it; empty for plain loopback.
        command: program and arguments of worker ``i`` (0-based); it prints ``host:port`` of its
            loopback port as the last word of its first line.
        max_ram: bytes each worker may use, enforced by a resource limit at 5 % more; 0: no limit.
        seed: of jitter and loss.

    Raises:
        DeviceError: E520, a worker did not start.
        FitError: E311, the cap is less than a process without a model needs.
        UsageError: E142, not a link.
    """

    def __init__(
        self, workers: int, link: str, command: WorkerCommand, *, max_ram: int = 0, seed: int = 0
    ) -> None:
        if 0 < max_ram < PROCESS_BYTES:
            raise FitError(
                "E311",
                f"a device needs {PROCESS_BYTES} bytes before any weights, its cap is {max_ram}",
                numbers={"needed": PROCESS_BYTES, "available": max_ram},
                hints=[f"--max-ram {2 * PROCESS_BYTES >> 20}M"],
            )
        if link:
            LinkSpec.parse(link)
        self.processes: list[subprocess.Popen[bytes]] = []
        self._relay: subprocess.Popen[bytes] | None = None
        try:
            direct = [self._spawn(command(i), i + 1, max_ram) for i in range(workers)]
            self.addresses = tuple(WorkerAddress(address) for address in direct)
            if link and workers:
                self.addresses = self._connect(link, direct, seed)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> EmulatedCluster:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def unplug(self, worker: int) -> None:
        """Pull the cable of a worker: nothing gets through, no connection is closed."""
        if self._relay is not None and self._relay.stdin is not None:
            self._relay.stdin.write(bytes([worker + 1]))
            self._relay.stdin.flush()

    def kill(self, worker: int) -> None:
        """End a worker as a power cut would, its machine staying on the network."""
        self.processes[worker].kill()

    def close(self) -> None:
        """End all processes."""
        for process in [*self.processes, *([self._relay] if self._relay else [])]:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()
        self.processes.clear()
        self._relay = None

    def _spawn(self, command: Sequence[str], device: int, max_ram: int) -> str:
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment
        )
        self.processes.append(process)
        if sys.platform == "linux":
            pin(process.pid, device)
            if max_ram:
                cap = int(max_ram * _SLACK) + _STACKS
                resource.prlimit(process.pid, resource.RLIMIT_DATA, (cap, cap))
        first = process.stdout.readline() if process.stdout else b""
        words = first.decode("utf-8", "replace").split()
        if not words:
            raise DeviceError("E520", f"emulated worker {device} did not start")
        return words[-1].replace("[::ffff:127.0.0.1]", "127.0.0.1")

    def _connect(self, link: str, direct: Sequence[str], seed: int) -> tuple[WorkerAddress, ...]:
        """Start the relay; device 0 is the head, worker i is device i + 1."""
        relay = subprocess.Popen(
            [sys.executable, "-m", "runtimes.cluster.emulate"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(_roots())},
        )
        self._relay = relay
        if relay.stdin is None or relay.stdout is None:
            raise DeviceError("E520", "the link emulator did not start")
        order = {"link": link, "targets": ["", *direct], "seed": seed}
        relay.stdin.write(json.dumps(order).encode() + b"\n")
        relay.stdin.flush()
        answer = relay.stdout.readline()
        if not answer:
            raise DeviceError("E520", "the link emulator did not start")
        routes = {(a, b): address for a, b, address in json.loads(answer)}
        count = range(len(direct))
        return tuple(
            WorkerAddress(
                routes[0, i + 1],
                routes={j: routes[j + 1, i + 1] for j in count if j != i},
            )
            for i in count
        )


def pin(pid: int, device: int) -> None:
    """Give an emulated device one processor, in turn over those that this process may use."""
    allowed = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(pid, {allowed[device % len(allowed)]})


@contextlib.contextmanager
def pinned(device: int) -> Iterator[None]:
    """`pin` this process for a while: it is the emulated head."""
    before = os.sched_getaffinity(0)
    pin(0, device)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _roots() -> list[str]:
    """Folders from which this package was imported, for a child process."""
    return [str(Path(__file__).parents[3]), *filter(None, [os.environ.get("PYTHONPATH")])]
