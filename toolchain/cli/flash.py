"""``tessera flash``: build a project with PlatformIO and upload it to the board."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from toolchain.cli.arguments import project_argument
from toolchain.cli.report import Reporter, common_options

if TYPE_CHECKING:
    from toolchain.cli.pipeline import Project


@click.command()
@project_argument()
@click.option("--env", "environment", help="Environment of platformio.ini.")
@common_options
def command(reporter: Reporter, project: Path, environment: str | None) -> int:
    """Build the project in DIR and upload it to the connected board (or its emulator)."""
    from toolchain.cli.pipeline import open_project

    opened = open_project(project, reporter)
    log = flash_project(reporter, opened, environment)
    reporter.note(f"next: tessera validate {project}, or tessera monitor {project}")
    return reporter.result({"board": opened.board.id, "plan_hash": opened.plan.hash, "log": log})


def flash_project(reporter: Reporter, project: Project, environment: str | None) -> str:
    """Upload ``project`` through PlatformIO and return what it said.

    Raises:
        ToolError: E601 without PlatformIO.
        DeviceError: E501 if no board answers the uploader.
    """
    from runtimes.device.platformio import PlatformIO

    reporter.note(f"building and uploading to {project.board.name} through PlatformIO ...")
    chosen = environment or _environment(project)
    log = PlatformIO(project.folder).run(chosen, ["upload"]).output
    if not reporter.quiet:
        reporter.note(log.strip())
    reporter.say(f"{project.board.id} runs plan {project.plan.hash[:16]}")
    return log


def _environment(project: Project) -> str:
    """Return the environment that reaches the board: with local tools, else PlatformIO's own."""
    import shutil

    board = project.board
    if board.flashing and board.flashing.openocd and shutil.which("openocd"):
        return f"{board.id}_local"
    return board.id
