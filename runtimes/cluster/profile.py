"""Measures what plans are made from: kernels, disk, links. Real engines, real files, real peers."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from runtimes.cluster.buffers import Buffer, Rows
from runtimes.cluster.crew import Crew, WorkerAddress
from runtimes.cluster.engine import Engine
from runtimes.cluster.keys import KeyRing
from runtimes.cluster.memory import DirectFile
from runtimes.cluster.open_engine import engine_opener
from runtimes.cluster.sparse_shard import write_sparse_shard
from runtimes.cluster.step import EngineRequest
from runtimes.cluster.wire import Encoding, Header, Kind
from toolchain.cluster.config import ModelConfig
from toolchain.cluster.devices import Device, Link
from toolchain.cluster.predict import wire_bytes
from toolchain.cluster.split import block_bytes, split
from toolchain.errors import DeviceError

_LARGE = ModelConfig("profile", 2048, 5632, 6, 32, 4, 64, 512, 64)  # 150 MB: in no cache
_SMALL = ModelConfig("profile", 64, 32, 1, 2, 2, 32, 32, 64)
_POSITIONS = 32
_DISK_BYTES, _READ_BYTES = 128 << 20, 4 << 20
_ECHO_BYTES = 256 << 10


@dataclass(frozen=True)
class _Timing:
    one_s: float
    batch_s: float


def profile_device(name: str, folder: Path, *, threads: int = 1) -> Device:
    """Measure this device.

    Args:
        name: for people.
        folder: on the disk that shards will be read from.
        threads: of the kernels.

    Returns:
        Its figures, as ``cluster.toml`` has them.
    """
    with tempfile.TemporaryDirectory(prefix="tessera-", dir=folder) as scratch:
        large = _feed_forward(_LARGE, Path(scratch), threads)
        small = _feed_forward(_SMALL, Path(scratch), threads)
        disk = disk_bandwidth(Path(scratch))
    share = split(_LARGE, [1.0])[0]
    size = block_bytes(_LARGE, share, 4).feed_forward
    macs = 3 * _LARGE.hidden * _LARGE.ffn * _POSITIONS
    return Device(
        name=name,
        weights_per_s=size / max(large.one_s - small.one_s, 1e-9),
        macs_per_s=macs / large.batch_s,
        disk_per_s=disk,
        block_s=small.one_s,
    )


def profile_link(peer: WorkerAddress, keys: KeyRing | None = None, rounds: int = 20) -> Link:
    """Measure latency and bandwidth to a worker: header-only and 256 KiB echoes, best of some.

    Raises:
        DeviceError: E520, no answer.
    """
    crew = Crew([peer], keys, ())
    try:
        if not crew.hello([0], [], 5.0):
            raise crew.silent([0])
        short = min(_echo(crew, b"", step) for step in range(rounds))
        long = min(_echo(crew, bytes(_ECHO_BYTES), rounds + step) for step in range(5))
    finally:
        crew.close()
    wire = wire_bytes(_ECHO_BYTES) - wire_bytes(0)
    return Link(latency_s=short / 2, bytes_per_s=wire / max(long - short, 1e-6))


def _feed_forward(config: ModelConfig, folder: Path, threads: int) -> _Timing:
    """Seconds of a feed-forward block, one position and a batch; median of some rounds."""
    path = folder / f"{config.hidden}.shard"
    write_sparse_shard(config, split(config, [1.0])[0], 4, path, digest="0" * 64)
    request = EngineRequest(slots=1, capacity=64, reproducible=False, kv="f32", max_ram=0)
    engine = engine_opener(threads)(path, request)
    try:
        one, batch = Rows.empty(1, config.hidden), Rows.empty(_POSITIONS, config.hidden)
        return _Timing(
            _median(lambda: _all_layers(engine, one), 15) / config.layers,
            _median(lambda: _all_layers(engine, batch), 5) / config.layers,
        )
    finally:
        engine.close()


def _all_layers(engine: Engine, hidden: Rows) -> None:
    for layer in range(engine.config.layers):
        engine.feed_forward(layer, hidden)


def _median(action: Callable[[], None], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        action()
        times.append(time.perf_counter() - began)
    return sorted(times)[rounds // 2]


def disk_bandwidth(folder: Path) -> float:
    """Bytes per second of a file, read as shards are: past the page cache where that is possible.

    Args:
        folder: on the disk in question.
    """
    path = folder / "disk"
    chunk = os.urandom(_READ_BYTES)
    with path.open("wb") as file:
        for _ in range(_DISK_BYTES // _READ_BYTES):
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
        with contextlib.suppress(AttributeError, OSError):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    target = Buffer.zeros(_READ_BYTES)
    began = time.perf_counter()
    with DirectFile(path) as disk:
        for offset in range(0, _DISK_BYTES, _READ_BYTES):
            disk.read(target, offset)
    return _DISK_BYTES / (time.perf_counter() - began)


def _echo(crew: Crew, payload: bytes, step: int) -> float:
    began = time.perf_counter()
    header = Header(Kind.ECHO, step=step, encoding=Encoding.NONE, length=len(payload))
    crew.peer(0).send(header, payload)
    while time.perf_counter() - began < 10.0:
        delivery = crew.mailbox.receive(1.0)
        if delivery is not None and delivery[1].header.step == step:
            return time.perf_counter() - began
    raise DeviceError("E520", "no echo from the worker")
