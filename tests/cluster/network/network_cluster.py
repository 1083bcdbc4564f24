"""Real workers in processes of their own, for tests.

A shard file here may be a JSON description of one rank of a synthetic or llama2.c model: small
enough to send in any test, as real to the network as any other file.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from runtimes.cluster.crew import WorkerAddress
from runtimes.cluster.formation import Deployment
from runtimes.cluster.formats.llama2c import Llama2cModel
from runtimes.cluster.formats.synthetic import SyntheticModel
from runtimes.cluster.native_engine import EngineOptions, NativeEngine
from runtimes.cluster.reference import ReferenceEngine
from runtimes.cluster.shard import ShardFile
from runtimes.cluster.shard_layout import MAGIC
from runtimes.cluster.transfer import StoredShard
from runtimes.cluster.weights import SlicedWeights
from toolchain.cluster.config import ModelConfig
from toolchain.cluster.split import Share, split

ROOT = Path(__file__).parents[3]
SMALL = ModelConfig(
    family="llama",
    hidden=64,
    ffn=172,
    layers=3,
    heads=8,
    kv_heads=4,
    head_dim=8,
    vocab=96,
    context=256,
    rope_style="half",
)


def source_of(description):
    if "file" in description:
        return Llama2cModel(Path(description["file"]))
    return SyntheticModel(ModelConfig.from_dict(description["config"]), description["seed"])


def open_engine(path, options):
    """Engines of descriptions compute in numpy; those of shards on kernels, in ``max_ram``."""
    if path.read_bytes()[:8] == MAGIC:
        limits = {"capacity": options.capacity, "memory": options.max_ram or None}
        return NativeEngine(ShardFile(path), EngineOptions(kv=options.kv, **limits))
    description = json.loads(path.read_text())
    weights = SlicedWeights(source_of(description), Share.from_dict(description["share"]))
    engine = ReferenceEngine(
        weights,
        slots=options.slots,
        capacity=options.capacity,
        reproducible=options.reproducible,
    )
    if "delay_s" in description:
        return Slow(engine, description["delay_s"], description.get("trap"))
    return engine


class Slow:
    """An engine that takes its time, so that a fault can hit the middle of a pass.

    Who finds the file ``trap`` removes it and hangs, its sockets alive.
    """

    def __init__(self, engine, delay_s, trap):
        self._engine = engine
        self._delay_s = delay_s
        self._trap = trap

    def __getattr__(self, name):
        return getattr(self._engine, name)

    def feed_forward(self, layer, hidden):
        time.sleep(self._delay_s)
        with contextlib.suppress(FileNotFoundError, TypeError):
            Path(self._trap).unlink()
            time.sleep(1000)
        return self._engine.feed_forward(layer, hidden)


def write_shards(folder, weights, *, padding=0, **description):
    """One file per rank; ``padding`` bytes of spaces make them as large as real ones."""
    folder.mkdir(parents=True, exist_ok=True)
    source = source_of(description)
    files = []
    for share in split(source.config, weights):
        path = folder / f"rank-{share.rank}.json"
        text = json.dumps({**description, "share": share.as_dict()})
        path.write_text(text + " " * padding)
        files.append(StoredShard.of(share.rank, path))
    return source, tuple(files)


def synthetic(config=SMALL, seed=1, **more):
    return {"config": config.as_dict(), "seed": seed, **more}


def deployment(source, shards, workers, **options):
    weights = split_weights(shards)
    return Deployment(
        config=source.config,
        shares=weights,
        shards=shards,
        workers=tuple(workers),
        **{"capacity": 64, **options},
    )


def split_weights(shards):
    shares = [json.loads(shard.path.read_text())["share"] for shard in shards]
    return tuple(Share.from_dict(share) for share in shares)


class WorkerProcess:
    """``python network_worker.py``, as a device would run it."""

    def __init__(self, cache, *, listen="127.0.0.1:0", key=None, prefix=()):
        self.cache = cache
        command = [
            *prefix,
            sys.executable,
            str(Path(__file__).parent / "network_worker.py"),
            listen,
            str(cache),
        ]
        command += [str(key)] if key else []
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"}
        self.log = cache.with_suffix(".log")
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
            )
        self.address = self.process.stdout.readline().strip()
        assert self.address, self.log.read_text()

    def at(self, **options):
        return WorkerAddress(self.address, **options)

    def signal(self, number):
        self.process.send_signal(number)

    def peak_rss(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) << 10

    def close(self):
        with contextlib.suppress(ProcessLookupError):
            self.signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@contextlib.contextmanager
def workers(folder, count, **options):
    running = []
    try:
        for i in range(count):
            running.append(WorkerProcess(folder / f"cache-{i}", **options))
        yield running
    finally:
        for worker in running:
            worker.close()
