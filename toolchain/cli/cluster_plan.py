"""``tessera cluster plan``: everything about a cluster before anything starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import click

from toolchain.cli.cluster_model import KV_CHOICE, check_context
from toolchain.cli.report import Reporter, common_options
from toolchain.cli.sizes import human

if TYPE_CHECKING:
    from toolchain.cluster.config import ModelConfig
    from toolchain.cluster.plan import ClusterPlan, DevicePlan
    from toolchain.cluster.split import KvKind

_CONTEXT = 2048  # tokens, unless asked for: long contexts cost much memory


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--devices",
    "cluster",
    type=click.Path(path_type=Path),
    default=Path("cluster.toml"),
    show_default=True,
    help="Measured devices, the head first.",
)
@click.option("--bits", type=click.Choice(["4", "8", "32"]), default="4", help="Of a weight.")
@click.option("--exchange", type=click.Choice(["int8", "f16", "f32", "fixed"]), default="int8")
@click.option("--kv", type=KV_CHOICE, default="int8", help="Key/value cache.")
@click.option(
    "--context", type=click.IntRange(1), help="Tokens.  [2048, or what the model was made for]"
)
@click.option("--slots", type=click.IntRange(1, 1024), default=1, show_default=True)
@click.option("--prompt", type=click.IntRange(1), default=28, help="Tokens, for the prediction.")
@click.option("--count", type=click.IntRange(0), default=0, help="Use exactly so many devices.")
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Write the plan as JSON.")
@common_options
def command(
    reporter: Reporter,
    *,
    model: Path,
    cluster: Path,
    bits: str,
    exchange: str,
    kv: str,
    context: int | None,
    slots: int,
    prompt: int,
    count: int,
    output: Path | None,
) -> int:
    """Split MODEL over measured devices and predict RAM and speed.

    MODEL is a Hugging Face folder, a GGUF or llama2.c file, or a folder of shards. Every device's
    bytes are proved against its cap.
    """
    from toolchain.cluster.check import check_plan
    from toolchain.cluster.devices import load_devices
    from toolchain.cluster.plan import PlanOptions
    from toolchain.cluster.planner import make_plan

    config = _config_of(model)
    options = PlanOptions(
        bits=cast("Literal[4, 8, 32]", int(bits)),
        payload=cast("Literal['int8', 'f16', 'f32', 'fixed']", exchange),
        kv=cast("KvKind", kv),
        context=check_context(context, config) or min(config.context, _CONTEXT),
        slots=slots,
        prompt=prompt,
        count=count,
    )
    plan = make_plan(config, load_devices(cluster), options)
    check_plan(plan)
    _say(reporter, plan)
    if output is not None:
        fresh = output.with_name(output.name + ".new")
        fresh.write_text(plan.to_json())
        fresh.replace(output)
        reporter.say(f"wrote {output}")
    speeds = ",".join(f"{rank.device.weights_per_s / 1e9:.3g}" for rank in plan.ranks)
    shape = f"--plan {output}" if output else f"--devices {speeds if ',' in speeds else 1}"
    source = "MODEL" if (model / "cluster.json").exists() else model
    reporter.say(f"next: tessera cluster convert {source} -o shards --bits {bits} {shape}")
    return reporter.result(json.loads(plan.to_json()))


def _config_of(model: Path) -> ModelConfig:
    if (model / "cluster.json").exists():
        from runtimes.cluster.shard_folder import open_shards

        return open_shards(model).config
    from runtimes.cluster.formats.open import open_model

    source = open_model(model)
    try:
        return source.config
    finally:
        source.close()


def _say(reporter: Reporter, plan: ClusterPlan) -> None:
    reporter.say(f"{'device':16s} {'heads':>6s} {'columns':>8s} {'rows':>7s} {'RAM':>10s}  weights")
    for rank in plan.ranks:
        share = rank.share
        reporter.say(
            f"{rank.device.name:16.16s} {len(share.heads):6d} {len(share.ffn):8d}"
            f" {len(share.vocab):7d} {human(rank.bytes):>10s}  {_weights(rank)}"
        )
    for spare in plan.spares:
        reporter.say(f"{spare.name:16.16s} spare")
    prediction = plan.prediction
    reporter.say(
        f"token {prediction.token_s * 1e3:.1f} ms ({1 / prediction.token_s:.2f}/s): compute"
        f" {prediction.compute_s * 1e3:.1f}, exchange {prediction.exchange_s * 1e3:.1f}"
        f" ({plan.topology}, {plan.options.payload}), disk {prediction.disk_s * 1e3:.1f}"
    )
    reporter.say(
        f"first token {prediction.first_token_s * 1e3:.0f} ms for {plan.options.prompt} tokens"
    )
    reporter.say(plan.advice)


def _weights(rank: DevicePlan) -> str:
    if not rank.residency.streamed:
        return "all in memory"
    return (
        f"{human(rank.residency.pinned_bytes)} stay,"
        f" {human(rank.residency.streamed_bytes)} stream per token"
    )
