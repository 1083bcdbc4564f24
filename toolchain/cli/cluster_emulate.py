"""``tessera cluster emulate``: a cluster of processes with emulated links and capped memory."""

from __future__ import annotations

import dataclasses
import random
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from toolchain.cli.cluster_model import KV_CHOICE
from toolchain.cli.report import Reporter, common_options
from toolchain.cli.sizes import Size, human
from toolchain.errors import UsageError

if TYPE_CHECKING:
    from runtimes.cluster.deploy import HeadOptions
    from runtimes.cluster.head import Head
    from runtimes.cluster.shard_folder import ShardFolder
    from toolchain.cluster.predict import Prediction
    from toolchain.cluster.split import KvKind


@click.command()
@click.argument("shards", type=click.Path(path_type=Path))
@click.option("--devices", "-n", type=int, help="Must be what the shards were cut for.")
@click.option("--link", default="1ms,100Mbit", show_default=True, help="Latency and bandwidth.")
@click.option("--max-ram", type=Size(), default=0, help="Cap of every device: 600M.")
@click.option("--topology", type=click.Choice(["mesh", "star", "doubling"]), default="mesh")
@click.option("--exchange", type=click.Choice(["int8", "f16", "f32", "fixed"]), default="int8")
@click.option("--kv", type=KV_CHOICE, help="Key/value cache.  [int8; f32 with fixed]")
@click.option("--prompt-tokens", type=click.IntRange(1, 4096), default=28, show_default=True)
@click.option("--tokens", type=click.IntRange(1, 4096), default=16, show_default=True)
@click.option("--fetch", is_flag=True, help="Send shards over the links, as at a first start.")
@click.option("--predict", is_flag=True, help="Measure such a cluster, predict first.")
@click.option("--kill-after", type=int, help="Kill the last worker after so many tokens.")
@common_options
def command(
    reporter: Reporter,
    *,
    shards: Path,
    devices: int | None,
    link: str,
    max_ram: int,
    topology: str,
    exchange: str,
    kv: KvKind | None,
    prompt_tokens: int,
    tokens: int,
    fetch: bool,
    predict: bool,
    kill_after: int | None,
) -> int:
    """Run SHARDS on this machine as on a cluster: a process per device, links in between.

    Links have latency, bandwidth at both ports, jitter and loss
    (--link 2ms,54Mbit,jitter=1ms,loss=0.1%); devices have a memory cap and one processor each.
    Nothing needs root. Prompt tokens are random: this measures.
    """
    from runtimes.cluster.deploy import HeadOptions
    from runtimes.cluster.exchange import Topology
    from runtimes.cluster.shard_folder import open_shards
    from runtimes.cluster.wire import Encoding

    folder = open_shards(shards)
    if devices not in (None, len(folder.shares)):
        raise UsageError(
            "E145",
            f"the shards are cut for {len(folder.shares)} devices, not {devices}",
            hints=[f"tessera cluster convert MODEL -o {shards} --devices {devices}"],
        )
    options = HeadOptions(
        topology=Topology(topology),
        encoding=Encoding[exchange.upper()],
        capacity=min(folder.config.context, prompt_tokens + tokens + 1),
        kv=kv or ("f32" if exchange == "fixed" else "int8"),
        max_ram=max_ram,
    )
    request = _Request(link, prompt_tokens, tokens, fetch, kill_after)
    forecast = _predict(folder, options, request) if predict else None
    result = _run(reporter, folder, options, request)
    _say(reporter, result)
    if forecast is not None:
        result["predicted"] = dataclasses.asdict(forecast)
        reporter.say(
            f"predicted    {forecast.token_s * 1e3:8.1f} ms per token,"
            f" {forecast.first_token_s * 1e3:.0f} ms to the first"
        )
    return reporter.result(result)


@dataclass(frozen=True)
class _Request:
    """What to emulate; see the options of the command."""

    link: str
    prompt: int
    tokens: int
    fetch: bool
    kill_after: int | None


def _predict(folder: ShardFolder, options: HeadOptions, request: _Request) -> Prediction:
    """Measure a cluster of this form with models of its own, then predict these shards."""
    from runtimes.cluster.emulate.profile import predict_emulated, profile_emulated

    measured = profile_emulated(folder, request.link, options)
    return predict_emulated(folder, measured, options, prompt=request.prompt)


def _run(
    reporter: Reporter, folder: ShardFolder, options: HeadOptions, request: _Request
) -> dict[str, Any]:
    """Start the workers and the link, measure, end them."""
    from runtimes.cluster.deploy import open_head
    from runtimes.cluster.emulate.cluster import EmulatedCluster, pinned, worker_command

    count, max_ram = len(folder.shares), options.max_ram
    with tempfile.TemporaryDirectory(prefix="tessera-") as caches:
        stocked = [] if request.fetch else [folder]
        command = worker_command(Path(caches), stocked, max_ram=max_ram)
        with EmulatedCluster(count - 1, request.link, command, max_ram=max_ram) as cluster:
            reporter.note(f"{count} devices over {request.link}")
            with pinned(0), open_head(folder.path, cluster.addresses, options) as head:
                kill = {request.kill_after: lambda: cluster.kill(count - 2)} if count > 1 else {}
                return _measure(head, request.prompt, request.tokens, kill)


def _measure(head: Head, prompt: int, tokens: int, events: dict[int | None, Any]) -> dict[str, Any]:
    """Time a random prompt and greedy tokens."""
    from runtimes.cluster.sampling import open_sampler
    from runtimes.cluster.usage import peak_rss

    ids = random.Random(0).choices(range(head.config.vocab), k=prompt)
    sampler = open_sampler()
    began = time.perf_counter()
    logits = head.forward(0, ids, 0, rows=1)
    first = time.perf_counter() - began
    times = []
    for i in range(tokens):
        events.get(i, lambda: None)()
        began = time.perf_counter()
        logits = head.forward(0, sampler.likeliest(logits), prompt + i, rows=1)
        times.append(time.perf_counter() - began)
    faults = [
        {
            "lost": fault.lost,
            "what": fault.error.what,
            "repaired_s": fault.repaired_s,
            "sent_bytes": fault.sent_bytes,
        }
        for fault in head.faults
    ]
    return {
        "first_token_s": first,
        "token_s": statistics.median(times),
        "token_mean_s": statistics.mean(times),
        "peak_rss": {"head": peak_rss(), **head.memory()},
        "sent_bytes": head.sent_bytes,
        "faults": faults,
    }


def _say(reporter: Reporter, result: dict[str, Any]) -> None:
    reporter.say(f"first token  {result['first_token_s'] * 1e3:8.0f} ms")
    reporter.say(f"token        {result['token_s'] * 1e3:8.1f} ms  {1 / result['token_s']:.2f}/s")
    for name, size in result["peak_rss"].items():
        reporter.say(f"peak RSS     {human(size):>11s}  {name}")
    for fault in result["faults"]:
        reporter.say(
            f"lost {', '.join(fault['lost'])} ({fault['what']}): repaired in"
            f" {fault['repaired_s'] * 1e3:.0f} ms, {fault['sent_bytes']} weight bytes sent"
        )
