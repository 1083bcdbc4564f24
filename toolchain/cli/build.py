"""``tessera build``: link a project's firmware and show what it takes."""

from __future__ import annotations

from pathlib import Path

import click

from toolchain.cli.arguments import project_argument
from toolchain.cli.compile import share
from toolchain.cli.report import Reporter, common_options
from toolchain.cli.table import kib, print_table


@click.command()
@project_argument()
@common_options
def command(reporter: Reporter, project: Path) -> int:
    """Link the firmware of the project in DIR with the cross compiler of this machine.

    PlatformIO users can as well run `pio run` in DIR.
    """
    from codegen.folder import read_manifest
    from runtimes.toolchains import link
    from toolchain.cli.pipeline import open_project

    opened = open_project(project, reporter)
    firmware = link(read_manifest(project)["files"], opened.board, project)
    blocks = [b for b in opened.board.ram_blocks if firmware.pieces[b.name]]
    used = [(f"RAM {block.name}", firmware.pieces[block.name], block.size) for block in blocks]
    used.append(("flash", firmware.flash_bytes, opened.board.flash.size))
    rows = [(name, kib(part), kib(whole), share(part, whole)) for name, part, whole in used]
    rows.insert(len(blocks), ("  arena", kib(firmware.arena_bytes), "", ""))
    print_table(reporter, ("memory", ">used", ">available", ">share"), rows)
    reporter.say(f"wrote {firmware.elf}")
    reporter.note(f"next: tessera flash {project}")
    return reporter.result(
        {
            "elf": str(firmware.elf),
            "ram_bytes": firmware.ram_bytes,
            "arena_bytes": firmware.arena_bytes,
            "regions": dict(firmware.pieces),
            "flash_bytes": firmware.flash_bytes,
            "sections": dict(firmware.sections),
        }
    )
