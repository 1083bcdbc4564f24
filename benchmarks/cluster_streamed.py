"""Tokens of a model that does not fit its memory, against the disk and against memory alone.

    python benchmarks/cluster_streamed.py [--memory 200,300,400] [--rounds 5]

One device, the shape of TinyLlama-1.1B, int4. Every round times a token with all weights in
memory, the direct reads of the blocks that a streamed token needs, and the streamed token. The
last column is the streamed token over the larger of the other two: 1.0 means that reading hides
behind computing, or computing behind reading.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.cluster_kernels import TINY_LLAMA
from runtimes.cluster.memory import DirectFile, page_slab
from runtimes.cluster.native_engine import EngineOptions, NativeEngine
from runtimes.cluster.shard import ShardFile
from runtimes.cluster.sparse_shard import write_sparse_shard
from runtimes.cluster.unsplit import run_unsplit
from toolchain.cluster.split import PAGE, split

_TOKENS = 3  # per round
_CHUNK = 1 << 22


def write_shard(path: Path) -> None:
    """Write a shard that lies on the disk in full."""
    write_sparse_shard(TINY_LLAMA, split(TINY_LLAMA, [1.0])[0], 4, path, digest="benchmark")
    with closing(ShardFile(path)) as shard, path.open("r+b", buffering=0) as file:
        for block in shard.header.blocks:
            file.seek(block.offset)
            for start in range(0, block.bytes, _CHUNK):
                file.write(bytes(min(_CHUNK, block.bytes - start)))


def open_engine(path: Path, memory: int | None) -> NativeEngine:
    return NativeEngine(ShardFile(path), EngineOptions(kv="int8", capacity=256, memory=memory))


def seconds_of(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    for _ in range(_TOKENS):
        action()
    return (time.perf_counter() - began) / _TOKENS


def read_streamed(path: Path, engine: NativeEngine) -> Callable[[], None]:
    """Return what the disk must do for a token, and nothing else."""
    with closing(ShardFile(path)) as shard:
        blocks = [b for b in shard.header.blocks if b.name not in ("resident", "embedding")]
    wanted = [blocks[number] for number in engine.residency.streamed]
    target = page_slab(max(block.bytes for block in wanted) + PAGE)

    def read() -> None:
        with DirectFile(path) as file:
            for block in wanted:
                file.read(target.part(0, block.bytes), block.offset)

    return read


def report(path: Path, memory: int, rounds: int) -> None:
    pinned, streamed = open_engine(path, None), open_engine(path, memory)
    read = read_streamed(path, streamed)
    actions = [
        lambda: run_unsplit([pinned], np.array([7]), position=30),
        read,
        lambda: run_unsplit([streamed], np.array([7]), position=30),
    ]
    for action in actions:
        action()
    times = [[seconds_of(action) for action in actions] for _ in range(rounds)]
    compute, disk, token = (1e3 * statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(token / max(compute, disk) for compute, disk, token in times)
    size = streamed.residency.streamed_bytes >> 20
    print(
        f"{memory >> 20:9d}  {size:8d}  {compute:7.1f} {disk:7.1f} {token:9.1f}  {ratio:6.2f}",
        flush=True,
    )
    pinned.close()
    streamed.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--memory", default="200,300,400", help="megabytes for the engine")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=None, help="on the disk to measure")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "tiny.shard"
        write_shard(path)
        print("memory MB  streamed  compute    disk     token   ratio   (ms per token)")
        for memory in map(int, options.memory.split(",")):
            report(path, memory << 20, options.rounds)


if __name__ == "__main__":
    main()
