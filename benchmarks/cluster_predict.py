"""Predicted against measured: tokens and first tokens of five emulated clusters.

    python benchmarks/cluster_predict.py [--rounds 3] [--only NAME]

Every round measures a cluster of the same form with models of its own (`profile_emulated`),
predicts, then runs the model. The table has medians over rounds: a machine that others use too is
not the same from one minute to the next.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.cluster_kernels import TINY_LLAMA
from benchmarks.cluster_tokens import PROMPT, run
from runtimes.cluster.deploy import HeadOptions
from runtimes.cluster.emulate.profile import predict_emulated, profile_emulated
from runtimes.cluster.shard_folder import ShardFolder, write_sparse_shards
from toolchain.cluster.config import ModelConfig

LLAMA_110M = ModelConfig("llama", 768, 2048, 12, 12, 12, 64, 32000, 2048)
LLAMA_3B = ModelConfig("llama", 3072, 8192, 28, 24, 8, 128, 128256, 2048)
OPTIONS = HeadOptions(capacity=256)
_PROMPTS = 3  # per round: the time of a single one says more about the machine's other users


@dataclass(frozen=True)
class Case:
    """A model on a cluster."""

    name: str
    config: ModelConfig
    devices: int
    link: str


@dataclass(frozen=True)
class Times:
    """Seconds."""

    token: float
    first: float


CASES = [
    Case("1.1B", TINY_LLAMA, 1, "1ms,100Mbit"),
    Case("1.1B", TINY_LLAMA, 2, "1ms,100Mbit"),
    Case("1.1B", TINY_LLAMA, 4, "1ms,100Mbit"),
    Case("110M", LLAMA_110M, 2, "0.3ms,1Gbit"),
    Case("3B", LLAMA_3B, 3, "2ms,50Mbit"),
]


def predicted(case: Case, shards: ShardFolder) -> Times:
    devices = profile_emulated(shards, case.link, OPTIONS)
    forecast = predict_emulated(shards, devices, OPTIONS, prompt=PROMPT)
    return Times(forecast.token_s, forecast.first_token_s)


def measured(case: Case, shards: ShardFolder) -> Times:
    result, _ = run(shards, case.link, _PROMPTS)
    return Times(result.token_s, result.first_token_s)


def report(case: Case, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        shards = write_sparse_shards(Path(folder) / "s", case.config, [1.0] * case.devices, 4)
        pairs = [(predicted(case, shards), measured(case, shards)) for _ in range(rounds)]
    columns = []
    for name in ("token", "first"):
        ours, truth = (
            statistics.median(getattr(pair[side], name) for pair in pairs) for side in (0, 1)
        )
        columns.append(f"{1e3 * ours:9.1f} {1e3 * truth:9.1f} {100 * (ours / truth - 1):+5.0f} %")
    print(f"{case.name:>5s} {case.devices:7d}  {case.link:12s}  {'   '.join(columns)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="some cases: 1.1B, 1.1Bx2, 3B")
    options = parser.parse_args()
    print(f"int4, {PROMPT} prompt tokens; ms, medians of {options.rounds} rounds")
    print("model devices  link          token: predicted, measured     first: predicted, measured")
    for case in CASES:
        if f"{case.name}x{case.devices}".startswith(options.only):
            report(case, options.rounds)


if __name__ == "__main__":
    main()
