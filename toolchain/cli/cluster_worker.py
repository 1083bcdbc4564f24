"""``tessera cluster worker``: serve until interrupted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click

from toolchain.cli.cluster_model import check_address
from toolchain.cli.report import Reporter, common_options
from toolchain.cli.sizes import Size
from toolchain.errors import UsageError

_LOOPBACK = ("127.", "localhost", "[::1]")


@click.command()
@click.option("--listen", default="127.0.0.1:9500", show_default=True, metavar="HOST:PORT")
@click.option("--max-ram", type=Size(), default=0, help="Bytes this device grants: 600M, 2G.")
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    default=None,
    help="Folder of shards.  [~/.cache/tessera/shards]",
)
@click.option("--key", type=click.Path(path_type=Path), help="Own .key_secret in the key folder.")
@click.option("--open", "is_open", is_flag=True, help="Listen beyond loopback without keys.")
@click.option("--threads", type=click.IntRange(1, 256), default=1, show_default=True)
@click.option("--name", default="", help="For messages.  [host name]")
@common_options
def command(
    reporter: Reporter,
    *,
    listen: str,
    max_ram: int,
    cache: Path | None,
    key: Path | None,
    is_open: bool,
    threads: int,
    name: str,
) -> int:
    """Compute a share of a model for a head, and outlive it.

    The shard is fetched from the head once and kept; later starts send none. Prompts and tokens
    never come here.
    """
    check_address(listen, "--listen")
    if key is None and not is_open and not listen.startswith(_LOOPBACK):
        raise UsageError(
            "E144",
            f"{listen} can be reached by others, and without keys anyone may use it",
            hints=[
                "tessera cluster keygen NAME, then --key keys/NAME.key_secret",
                "--open on a network where you trust everyone",
            ],
        )
    from runtimes.cluster.device import Settings

    settings = Settings(
        listen=listen,
        cache=str(cache or Path("~/.cache/tessera/shards").expanduser()),
        name=name,
        max_ram=max_ram,
        key=str(key or ""),
        threads=threads,
        json=reporter.json,
        quiet=reporter.quiet,
    )
    if sys.platform != "win32":  # which has no way to become another program
        os.execv(sys.executable, settings.command())
    return subprocess.call(settings.command())
