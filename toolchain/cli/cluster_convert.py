"""``tessera cluster convert``: a model becomes one shard per device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from toolchain.cli.report import Reporter, common_options
from toolchain.errors import UsageError

if TYPE_CHECKING:
    from runtimes.cluster.shard_folder import ShardFolder
    from toolchain.cluster.split import Bits


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--output", "-o", "folder", type=click.Path(path_type=Path), required=True, help="Folder."
)
@click.option("--bits", type=click.Choice(["4", "8", "32"]), default="4", help="Of a weight.")
@click.option(
    "--devices", "-n", default="1", help="How many, or their speeds: 3, or 2,1,1.", metavar="N|A,B"
)
@click.option(
    "--plan", type=click.Path(path_type=Path), help="What `tessera cluster plan -o` wrote."
)
@common_options
def command(
    reporter: Reporter, *, model: Path, folder: Path, bits: str, devices: str, plan: Path | None
) -> int:
    """Cut MODEL into shards in kernel layout, one file per device.

    MODEL is a Hugging Face folder (safetensors), a GGUF file (F32, F16, BF16, Q4_0, Q8_0) or a
    llama2.c file. Memory stays small whatever the size of the model.
    """
    from runtimes.cluster.convert import convert

    width: Bits = {"4": 4, "8": 8, "32": 32}[bits]  # type: ignore[assignment]
    with reporter.status("converting") as show:

        def progress(rank: int, block: str, size: int) -> None:
            show(f"rank {rank}  {block}  {size / 2**20:.1f} MB")

        if plan is None:
            result = convert(
                *(model, folder),
                bits=width,
                weights=_weights(devices),
                progress=progress,
                warn=reporter.warn,
            )
        else:
            result = _follow(plan, model, folder, progress)
    sizes = [result.shard(share.rank).stat().st_size for share in result.shares]
    for share, size in zip(result.shares, sizes, strict=True):
        reporter.say(
            f"rank {share.rank}  {len(share.heads)} heads  {len(share.ffn)} columns"
            f"  {size / 2**20:.1f} MB  {result.shard(share.rank)}"
        )
    reporter.say(f"next: tessera cluster chat {folder}")
    return reporter.result(_summary(result, sizes))


def _follow(
    path: Path, model: Path, folder: Path, progress: Callable[[int, str, int], None]
) -> ShardFolder:
    """Convert as a plan says, and keep the plan with the shards."""
    from runtimes.cluster.convert import convert
    from toolchain.cluster.check import check_plan
    from toolchain.cluster.plan import PLAN_FILE, load_plan

    plan = load_plan(path)
    check_plan(plan)
    shares = [rank.share for rank in plan.ranks]
    result = convert(model, folder, bits=plan.options.bits, shares=shares, progress=progress)
    (folder / PLAN_FILE).write_text(plan.to_json())
    return result


def _weights(devices: str) -> list[float]:
    """``3`` means three equal devices, ``2,1,1`` one twice as fast as the others."""
    try:
        if "," in devices:
            return [float(part) for part in devices.split(",")]
        return [1.0] * min(int(devices), 1 << 10)
    except ValueError as error:
        raise UsageError(
            "E111",
            f"--devices wants a count or speeds, not {devices!r:.40}",
            hints=["--devices 3", "--devices 2,1,1"],
        ) from error


def _summary(result: ShardFolder, sizes: list[int]) -> dict[str, object]:
    return {
        "folder": str(result.path),
        "bits": result.bits,
        "source": result.source,
        "shards": [
            {**share.as_dict(), "bytes": size, "path": str(result.shard(share.rank))}
            for share, size in zip(result.shares, sizes, strict=True)
        ],
    }
