"""``tessera monitor``: show what the board prints."""

from __future__ import annotations

from pathlib import Path

import click

from toolchain.cli.arguments import project_argument
from toolchain.cli.report import Reporter, common_options


@click.command()
@project_argument()
@click.option("--port", help="Serial port; found by itself if one board is connected.")
@common_options
def command(reporter: Reporter, project: Path, port: str | None) -> int:
    """Show what the board that runs the project in DIR sends, until Ctrl-C."""
    from codegen.folder import read_manifest
    from runtimes.device.platformio import PlatformIO
    from runtimes.device.port import find_port

    read_manifest(project)
    chosen = port or find_port()
    status = PlatformIO(project).monitor(chosen)
    return reporter.result({"port": chosen}, 5 if status else 0)
