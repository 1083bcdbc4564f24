"""``tessera cluster bench``: how fast a model answers here, and where its time goes."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from toolchain.cli.cluster_model import (
    ModelOptions,
    fault_reporter,
    guesses_option,
    model_options,
)
from toolchain.cli.report import Reporter, common_options
from toolchain.cli.sizes import human
from toolchain.errors import UsageError

if TYPE_CHECKING:
    from runtimes.cluster.bench import Measurement
    from runtimes.cluster.forward import LocalModel
    from runtimes.cluster.launch import ClusterModel


@click.command()
@model_options
@guesses_option
@click.option("--prompt", help="A text; without it the prompt is random tokens.")
@click.option("--prompt-tokens", type=click.IntRange(1), default=28, show_default=True)
@click.option("--tokens", type=click.IntRange(2), default=32, show_default=True, help="Per round.")
@click.option("--rounds", type=click.IntRange(1, 100), default=3, show_default=True)
@common_options
def command(
    reporter: Reporter,
    *,
    model: ModelOptions,
    guesses: int,
    prompt: str | None,
    prompt_tokens: int,
    tokens: int,
    rounds: int,
) -> int:
    """Time the model in SHARDS: first token, tokens per second, memory.

    Each round decodes token by token, then with guesses: the ratio compares neighbours in time.
    """
    from runtimes.cluster.bench import measure
    from runtimes.cluster.launch import open_forward
    from runtimes.cluster.shard_folder import open_shards
    from runtimes.cluster.timing import Clock

    folder, clock = open_shards(model.shards), Clock()
    ids = _prompt(model.shards, prompt, prompt_tokens, folder.config.vocab)
    workers, options = model.resolve(slots=1)
    running = open_forward(folder, workers, options, on_fault=fault_reporter(reporter), clock=clock)
    try:
        if len(ids) + tokens > running.capacity:
            raise UsageError(
                "E130",
                f"{len(ids)} tokens of prompt and {tokens} more do not fit a context of"
                f" {running.capacity}",
                hints=["lower --prompt-tokens or --tokens, or raise --context"],
            )
        result = measure(running, ids, tokens, rounds=rounds, guesses=guesses, clock=clock)
        memory = _memory(running)
    finally:
        running.close()
    _say(reporter, result, memory)
    return reporter.result(_summary(result, memory, len(ids)))


def _prompt(shards: Path, text: str | None, count: int, vocab: int) -> list[int]:
    if text is not None:
        from runtimes.cluster.tokenizer import open_tokenizer

        return open_tokenizer(shards).encode(text)
    return random.Random(0).choices(range(vocab), k=count)


def _memory(running: LocalModel | ClusterModel) -> dict[str, int]:
    """Peak resident bytes of all devices."""
    from runtimes.cluster.launch import ClusterModel
    from runtimes.cluster.usage import peak_rss

    others = running.head.memory() if isinstance(running, ClusterModel) else {}
    return {"head": peak_rss(), **others}


def _summary(result: Measurement, memory: dict[str, int], prompt: int) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "tokens": len(result.plain[0].tokens),
        "first_token_s": result.first_token_s,
        "token_s": result.token_s,
        "tokens_per_s": 1 / result.token_s,
        "per_token": result.split(),
        "speculation": {
            "speedup": result.speedup,
            "drafted": sum(run.drafted for run in result.guessed),
            "accepted": sum(run.accepted for run in result.guessed),
            "same_tokens": len({run.tokens for run in (*result.plain, *result.guessed)}) == 1,
        },
        "peak_rss": memory,
    }


def _say(reporter: Reporter, result: Measurement, memory: dict[str, int]) -> None:
    reporter.say(f"first token   {result.first_token_s * 1e3:8.1f} ms")
    reporter.say(f"token         {result.token_s * 1e3:8.2f} ms   {1 / result.token_s:.2f}/s")
    for name, seconds in result.split().items():
        reporter.say(f"  {name.removesuffix('_s'):11s} {seconds * 1e3:8.2f} ms")
    if result.guessed:
        drafted = sum(run.drafted for run in result.guessed)
        accepted = sum(run.accepted for run in result.guessed)
        reporter.say(f"with guesses  {result.speedup:8.2f} x    {accepted} of {drafted} came true")
    for name, size in memory.items():
        reporter.say(f"peak RSS      {human(size):>11s}  {name}")
