"""``tessera cluster emulate``: a cluster of processes with emulated links and capped memory."""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from toolchain.cli.report import Reporter, common_options
from toolchain.cli.sizes import Size, human
from toolchain.errors import UsageError

if TYPE_CHECKING:
    from runtimes.cluster.convert import ShardFolder
    from runtimes.cluster.head import Head
    from toolchain.cluster.predict import Payload, Prediction, Topology

_RELAY_S = 0.35e-3  # ZeroMQ and the relay process, per exchange


@click.command()
@click.argument("shards", type=click.Path(path_type=Path))
@click.option("--devices", "-n", type=int, help="Must be what the shards were cut for.")
@click.option("--link", default="1ms,100Mbit", show_default=True, help="Latency and bandwidth.")
@click.option("--max-ram", type=Size(), default=0, help="Cap of every device: 600M.")
@click.option("--topology", type=click.Choice(["mesh", "star", "doubling"]), default="mesh")
@click.option("--exchange", type=click.Choice(["int8", "f16", "f32", "fixed"]), default="int8")
@click.option("--prompt-tokens", type=click.IntRange(1, 4096), default=28, show_default=True)
@click.option("--tokens", type=click.IntRange(1, 4096), default=16, show_default=True)
@click.option("--fetch", is_flag=True, help="Send shards over the links, as at a first start.")
@click.option("--predict", is_flag=True, help="Profile this machine and predict first.")
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
    from runtimes.cluster.convert import open_shards
    from runtimes.cluster.deploy import HeadOptions, open_head
    from runtimes.cluster.emulate.cluster import EmulatedCluster, pinned
    from runtimes.cluster.exchange import Topology
    from runtimes.cluster.transfer import StoredShard, stock
    from runtimes.cluster.wire import Encoding

    folder = open_shards(shards)
    count = len(folder.shares)
    if devices not in (None, count):
        raise UsageError(
            "E145",
            f"the shards are cut for {count} devices, not {devices}",
            hints=[f"tessera cluster convert MODEL -o {shards} --devices {devices}"],
        )
    options = HeadOptions(
        topology=Topology(topology),
        encoding=Encoding[exchange.upper()],
        capacity=min(folder.config.context, prompt_tokens + tokens + 1),
        kv="f32" if exchange == "fixed" else "int8",
        max_ram=max_ram,
    )
    forecast = _predict(folder, link, topology, exchange, prompt_tokens) if predict else None
    with tempfile.TemporaryDirectory(prefix="tessera-") as caches:

        def worker(number: int) -> list[str]:
            cache = Path(caches) / str(number)
            if not fetch:
                stock(cache, StoredShard.of(number + 1, folder.shard(number + 1)))
            flags = ["--listen", "127.0.0.1:0", "--cache", str(cache), "--max-ram", str(max_ram)]
            return [sys.executable, "-m", "toolchain", "cluster", "worker", *flags]

        with EmulatedCluster(count - 1, link, worker, max_ram=max_ram) as cluster:
            reporter.note(f"{count} devices over {link}")
            with pinned(0), open_head(shards, cluster.addresses, options) as head:
                kill = {kill_after: lambda: cluster.kill(count - 2)} if count > 1 else {}
                result = _measure(head, prompt_tokens, tokens, kill)
    _say(reporter, result)
    if forecast is not None:
        result["predicted"] = dataclasses.asdict(forecast)
        reporter.say(
            f"predicted    {forecast.token_s * 1e3:8.1f} ms per token,"
            f" {forecast.first_token_s * 1e3:.0f} ms to the first"
        )
    return reporter.result(result)


def _predict(
    folder: ShardFolder, link: str, topology: str, exchange: str, prompt: int
) -> Prediction:
    """Predict from this machine's figures, the shares of the shards and the link."""
    from runtimes.cluster.emulate.link import LinkSpec
    from runtimes.cluster.emulate.profile import profile_emulated
    from toolchain.cluster.devices import Link
    from toolchain.cluster.predict import predict
    from toolchain.cluster.ram import streams
    from toolchain.cluster.residency import plan_residency

    device, spec = profile_emulated(len(folder.shares), folder.path), LinkSpec.parse(link)
    return predict(
        folder.config,
        folder.shares,
        [device] * len(folder.shares),
        Link(spec.latency_s + spec.jitter_s / 2, spec.bytes_per_s, overhead_s=_RELAY_S),
        [plan_residency(streams(folder.config, s, folder.bits), None) for s in folder.shares],
        bits=folder.bits,
        topology=cast("Topology", topology),
        payload=cast("Payload", exchange),
        kv="int8",
        prompt=prompt,
    )


def _measure(head: Head, prompt: int, tokens: int, events: dict[int | None, Any]) -> dict[str, Any]:
    """Time a random prompt and greedy tokens."""
    import numpy as np

    from runtimes.cluster.usage import peak_rss

    ids = np.random.default_rng(0).integers(0, head.config.vocab, prompt)
    began = time.perf_counter()
    logits = head.forward(0, ids, 0, rows=1)
    first = time.perf_counter() - began
    times = []
    for i in range(tokens):
        events.get(i, lambda: None)()
        began = time.perf_counter()
        logits = head.forward(0, [int(logits[0].argmax())], prompt + i, rows=1)
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
        "token_s": float(np.median(times)),
        "token_mean_s": float(np.mean(times)),
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
