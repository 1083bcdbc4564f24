"""What smaller key/value caches cost: bytes, and the error they put into the logits.

    python benchmarks/cluster_cache.py

A cache of each type against one of float32, on one device, weights in float32: stories260K over its
golden text where it is at hand (loss of the tokens that follow, in nats), TinyLlama's shape cut to
four layers, and the same with eight large key channels in every head, as trained models have them.
Then the time of a layer's attention over 2,000 cached positions: the least of many, in turn.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import get_args
from unittest.mock import patch

import numpy as np

from runtimes.cluster.arrays import F32, rows_of
from runtimes.cluster.formats.base import WeightSource
from runtimes.cluster.formats.llama2c import Llama2cModel
from runtimes.cluster.formats.synthetic import SyntheticModel
from runtimes.cluster.native_engine import EngineOptions, NativeEngine
from runtimes.cluster.shard import ShardFile
from runtimes.cluster.shard_writer import write_shard
from runtimes.cluster.sparse_shard import write_sparse_shard
from runtimes.cluster.unsplit import run_unsplit
from toolchain.cluster.config import ModelConfig
from toolchain.cluster.split import KvKind, kv_bytes, split

KINDS: tuple[KvKind, ...] = get_args(KvKind)
TINYLLAMA = ModelConfig("llama", 2048, 5632, 4, 32, 4, 64, 4096, 512)
_SHARED = os.environ.get("TESSERA_SHARED_DATA", Path(__file__).parents[1] / ".." / "shared/data")
STORIES = Path(_SHARED) / "llm/stories260K"


class WithOutliers(SyntheticModel):
    """Eight key channels of every head are twelve times as large."""

    def rows(self, name: str, start: int, stop: int) -> F32:
        """Make rows of a tensor; see `SyntheticModel.rows`."""
        rows = super().rows(name, start, stop)
        if name.endswith(".k"):
            dim = self.config.head_dim
            large = np.random.default_rng(1).permutation(dim)[:8]
            rows[np.isin(np.arange(start, stop) % dim, large)] *= 12
        return rows


def main() -> None:
    """Print a table per model, then the times."""
    measure_time()
    if STORIES.exists():
        golden = json.loads((STORIES / "derived/golden_public.json").read_text())["prompts"]
        texts = [prompt["prompt_ids"] + prompt["greedy_ids"] for prompt in golden.values()]
        measure("stories260K", Llama2cModel(STORIES / "stories260K.bin"), texts, loss=True)
    tokens = np.random.default_rng(0).integers(0, TINYLLAMA.vocab, 256).tolist()
    measure("TinyLlama's shape", SyntheticModel(TINYLLAMA), [tokens], loss=False)
    measure("the same with outliers", WithOutliers(TINYLLAMA), [tokens], loss=False)


def measure(name: str, source: WeightSource, texts: list[list[int]], *, loss: bool) -> None:
    """Print a line per cache type."""
    config, (share,) = source.config, split(source.config, [1.0])
    columns = "cache  bytes/position  error of logits  channels unsorted"
    print(f"\n{name}\n{columns}{'    loss' if loss else ''}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "0.shard"
        write_shard(source, share, 32, path, digest="0" * 64)
        exact = [logits_of(path, "f32", text) for text in texts]
        for kind in KINDS:
            logits = [logits_of(path, kind, text) for text in texts]
            size = (kv_bytes(config, share, 1001, kind) - kv_bytes(config, share, 1, kind)) // 1000
            unsorted = ""
            if kind.startswith("bfp"):
                with patch("runtimes.cluster.channels.channel_order", as_they_are):
                    plain = [logits_of(path, kind, text) for text in texts]
                unsorted = f"{relative_error(plain, exact):.5f}"
            last = f"  {nats(logits, texts):6.4f}" if loss else ""
            error = relative_error(logits, exact)
            print(f"{kind:6s} {size:14d} {error:16.5f} {unsorted:>18s}{last}", flush=True)


def measure_time(rounds: int = 60) -> None:
    """Print what 2,000 cached positions add to a layer's attention (TinyLlama's heads)."""
    config = dataclasses.replace(TINYLLAMA, ffn=256, layers=1, vocab=64, context=2048)
    (share,) = split(config, [1.0])
    hidden = rows_of(np.random.default_rng(0).standard_normal((1, config.hidden), np.float32))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "0.shard"
        write_sparse_shard(config, share, 4, path, digest="0" * 64)
        engines = {kind: NativeEngine(ShardFile(path), EngineOptions(kv=kind)) for kind in KINDS}
        times: dict[tuple[KvKind, int], float] = {}
        for _ in range(rounds):
            for kind, engine in engines.items():
                for position in (0, 2000):
                    began = time.perf_counter()
                    engine.attention(0, hidden, 0, position)
                    seconds = time.perf_counter() - began
                    times[kind, position] = min(seconds, times.get((kind, position), 1.0))
        print("cache  attention over 2,000 positions")
        for kind, engine in engines.items():
            print(f"{kind:6s} {1e6 * (times[kind, 2000] - times[kind, 0]):6.0f} us")
            engine.close()


def logits_of(path: Path, kind: KvKind, tokens: list[int]) -> F32:
    """(tokens, vocab) with a cache of one type."""
    engine = NativeEngine(ShardFile(path), EngineOptions(kv=kind, capacity=512, threads=1))
    try:
        return run_unsplit([engine], tokens)
    finally:
        engine.close()


def relative_error(logits: list[F32], exact: list[F32]) -> float:
    """Norm of the difference over the norm."""
    error = np.linalg.norm(np.concatenate(logits) - np.concatenate(exact))
    return float(error / np.linalg.norm(np.concatenate(exact)))


def as_they_are(magnitudes: Sequence[float], head_dim: int) -> list[int]:
    """Order channels by number, not by size."""
    return [*range(head_dim)] * (len(magnitudes) // head_dim)


def nats(logits: list[F32], texts: list[list[int]]) -> float:
    """Mean negative log-likelihood of each text's tokens but the first."""
    losses = []
    for scores, text in zip(logits, texts, strict=True):
        shifted = scores[:-1].astype(np.float64) - scores[:-1].max(1, keepdims=True)
        total = np.log(np.exp(shifted).sum(1))
        losses.append(total - shifted[np.arange(len(text) - 1), text[1:]])
    return float(np.concatenate(losses).mean())


if __name__ == "__main__":
    main()
