"""A 70B model on four small emulated devices, under a cap of memory each.

    python benchmarks/cluster_large.py [--head 1000] [--worker 500] [--tokens 2]

Llama-2-70B's shape with 4-bit weights of zero in files of holes: they take no disk, but every byte
is read for every token, as of a real model. The workers are killed at 5 % above their cap; this
process, the head, only promises to keep its own. Prints the peak memory of each device.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from runtimes.cluster.deploy import HeadOptions
from runtimes.cluster.emulate.cluster import EmulatedCluster, pinned, worker_command
from runtimes.cluster.launch import ClusterModel, open_forward
from runtimes.cluster.shard_folder import ShardFolder, write_sparse_shards
from runtimes.cluster.usage import peak_rss
from toolchain.cluster.config import ModelConfig

LLAMA_70B = ModelConfig("llama", 8192, 28672, 80, 64, 8, 128, 32000, 4096)
DEVICES, LINK, PROMPT = 4, "1ms,100Mbit", [1, 2, 3, 4]


@contextmanager
def running(shards: ShardFolder, caches: Path, head: int, worker: int) -> Iterator[ClusterModel]:
    """Start the cluster; every worker has its shard already."""
    count = len(shards.shares)
    with ExitStack() as stack:
        command = worker_command(caches, [shards], max_ram=worker)
        cluster = stack.enter_context(EmulatedCluster(count - 1, LINK, command, max_ram=worker))
        stack.enter_context(pinned(0))
        caps = (worker,) * (count - 1)
        options = HeadOptions(capacity=1024, max_ram=head, worker_ram=caps)
        model = open_forward(shards, cluster.addresses, options)
        assert isinstance(model, ClusterModel)
        stack.callback(model.close)
        yield model


def report(head: int, worker: int, tokens: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        shards = write_sparse_shards(Path(folder) / "shards", LLAMA_70B, [1.0] * DEVICES, 4)
        size = sum(shards.shard(share.rank).stat().st_size for share in shards.shares)
        print(f"{DEVICES} devices, {size / 1e9:.1f} GB of weights, link {LINK}", flush=True)
        with running(shards, Path(folder) / "caches", head, worker) as model:
            position = 0
            for ids in [PROMPT] + [[5]] * tokens:
                began = time.perf_counter()
                model.forward(0, ids, position, rows=1)
                position += len(ids)
                print(f"{len(ids)} tokens: {time.perf_counter() - began:.1f} s", flush=True)
            peaks = {"head": peak_rss(), **model.head.memory()}
    print("  ".join(f"{name} {peak / 1e6:.0f} MB" for name, peak in peaks.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--head", type=int, default=1000, help="megabytes of the head")
    parser.add_argument("--worker", type=int, default=500, help="megabytes of each worker")
    parser.add_argument("--tokens", type=int, default=2)
    options = parser.parse_args()
    report(options.head * 10**6, options.worker * 10**6, options.tokens)


if __name__ == "__main__":
    main()
