"""Whole tokens of the TinyLlama-1.1B shape: one device, and emulated devices over a slow link.

    python benchmarks/cluster_tokens.py [--devices 1,2,4] [--link 1ms,100Mbit] [--bits 4]
                                        [--llama-python PYTHON]

Weights are zeros in files of holes: neither kernels nor memory are faster for them. Every device
is a process with one thread; the devices share this machine's processors, so with more devices
than processors the figures show exchange and memory, not how computing scales. llama.cpp (Q4_0,
one thread, from a Python with llama-cpp-python and gguf) runs in the same minute for the ratio.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.cluster_kernels import GGUF, LLAMA, TINY_LLAMA, time_llama
from runtimes.cluster.bench import Measurement, measure
from runtimes.cluster.deploy import HeadOptions
from runtimes.cluster.emulate.cluster import EmulatedCluster, pinned, worker_command
from runtimes.cluster.launch import ClusterModel, open_forward
from runtimes.cluster.shard_folder import ShardFolder, write_sparse_shards
from runtimes.cluster.timing import Clock
from runtimes.cluster.usage import peak_rss
from toolchain.cluster.split import Bits

PROMPT, TOKENS = 28, 24


def run(shards: ShardFolder, link: str, rounds: int) -> tuple[Measurement, dict[str, int]]:
    """Measure one cluster; the first device is this process."""
    count = len(shards.shares)
    prompt = np.random.default_rng(0).integers(0, shards.config.vocab, PROMPT).tolist()
    with tempfile.TemporaryDirectory(dir=shards.path.parent) as caches:
        command = worker_command(Path(caches))
        with EmulatedCluster(count - 1, link, command) as cluster, pinned(0):
            clock = Clock()
            options = HeadOptions(capacity=256)
            model = open_forward(shards, cluster.addresses, options, clock=clock)
            result = measure(model, prompt, TOKENS, rounds=rounds, guesses=0, clock=clock)
            memory = {"head": peak_rss()}
            memory |= model.head.memory() if isinstance(model, ClusterModel) else {}
            model.close()
    return result, memory


def report(devices: int, link: str, bits: Bits, rounds: int) -> None:
    """One row; called in a process of its own, so that its peak memory is that of one head."""
    with tempfile.TemporaryDirectory() as folder:
        shards = write_sparse_shards(Path(folder) / "shards", TINY_LLAMA, [1.0] * devices, bits)
        result, memory = run(shards, link, rounds)
    quietest = min(statistics.median(r.passes_s) for r in result.plain)
    split_ms = "  ".join(f"{k[:-2]} {1e3 * v:6.1f}" for k, v in result.split().items())
    sizes = " / ".join(f"{size >> 20}" for size in memory.values())
    print(
        f"{devices:7d}  {1e3 * quietest:8.1f} {1e3 * result.token_s:8.1f}"
        f"  {1e3 * result.first_token_s:8.0f}   {split_ms}   {sizes}",
        flush=True,
    )


def report_llama(python: str, package: str) -> None:
    c = TINY_LLAMA
    sizes = (c.hidden, c.ffn, c.layers, c.heads, c.kv_heads, c.head_dim, c.vocab)
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "tiny.gguf"
        subprocess.run([python, "-c", GGUF, str(model), *map(str, sizes)], check=True)
        first, tokens = time_llama(python, package, model)
    token = statistics.median(tokens)
    print(f"llama.cpp {1e3 * token:7.1f} {1e3 * token:8.1f}  {1e3 * first:8.0f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--devices", default="1,2,4")
    parser.add_argument("--link", default="1ms,100Mbit")
    parser.add_argument("--bits", type=int, choices=(4, 8), default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--llama-python", default="", help="with llama-cpp-python and gguf")
    parser.add_argument("--llama-package", choices=sorted(LLAMA), default="xllamacpp")
    parser.add_argument("--row", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row is not None:
        report(options.row, options.link, options.bits, options.rounds)
        return
    print(
        f"int{options.bits}, {PROMPT} prompt tokens, {TOKENS} tokens, link {options.link}; ms, MB"
    )
    print("devices   quietest   median  first tok   per token, head   peak RSS by device")
    for devices in map(int, options.devices.split(",")):
        command = [sys.executable, __file__, "--row", str(devices), "--link", options.link]
        command += ["--bits", str(options.bits), "--rounds", str(options.rounds)]
        subprocess.run(command, check=True)
    if options.llama_python:
        report_llama(options.llama_python, options.llama_package)


if __name__ == "__main__":
    main()
