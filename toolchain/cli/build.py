"""``tessera build``: link a project's firmware, or its library, and show what it takes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from toolchain.cli.arguments import project_argument
from toolchain.cli.compile import share
from toolchain.cli.report import Reporter, common_options
from toolchain.cli.table import kib, print_table

if TYPE_CHECKING:
    from toolchain.cli.pipeline import Project


@click.command()
@project_argument()
@common_options
def command(reporter: Reporter, project: Path) -> int:
    """Link the firmware of the project in DIR with the cross compiler of this machine.

    PlatformIO users can as well run `pio run` in DIR. For a board that runs Linux the library of
    the Python package is made.
    """
    from toolchain.cli.pipeline import open_project

    opened = open_project(project, reporter)
    return _library(reporter, opened) if opened.board.linux else _firmware(reporter, opened)


def _library(reporter: Reporter, project: Project) -> int:
    """Compile the library of a Python package."""
    from codegen.call import identifier
    from codegen.edge import library_file
    from codegen.folder import read_manifest
    from runtimes.edge.build import build_library

    prefix = identifier(project.name)
    sources = [n for n in read_manifest(project.folder)["files"] if n.endswith(".c")]
    target = project.folder / prefix / library_file(prefix)
    library = build_library(sources, project.board, project.folder, target)
    size = library.stat().st_size
    reporter.say(f"wrote {library} ({kib(size)})")
    reporter.note(f"next: pip wheel --no-deps {project.folder}")
    return reporter.result({"library": str(library), "bytes": size})


def _firmware(reporter: Reporter, opened: Project) -> int:
    """Link a microcontroller's firmware."""
    from codegen.folder import read_manifest
    from runtimes.toolchains import link

    project = opened.folder
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
