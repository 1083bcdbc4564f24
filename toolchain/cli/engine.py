"""``tessera compile --engine``: a Python package in which another runtime executes the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from toolchain.cli.report import Reporter
from toolchain.errors import UsageError

if TYPE_CHECKING:
    from boards import Board


def package_engine(reporter: Reporter, model: Path, board: str, output: Path, engine: str) -> int:
    """Write a Python package in which ``engine`` executes ``model``."""
    from codegen.folder import write_project
    from runtimes.edge.engines import engine_files
    from toolchain.cli.pipeline import c_name

    target = linux_board(board, engine)
    name = c_name(model)
    files = engine_files(model, engine, name)
    write_project(files, {"board": target.id, "name": name, "engine": engine}, output)
    reporter.say(f"wrote {output}/ ({name}: all operators are executed by {engine}, none by C)")
    reporter.note(f"next: pip install {output}")
    return reporter.result({"engine": engine, "package": name})


def linux_board(board: str, engine: str) -> Board:
    """Return a board on which ``engine`` runs; raise E141 for any other."""
    from boards import load_board

    target = load_board(board)
    if target.linux is None:
        raise UsageError(
            "E141",
            f"{engine} does not run on {target.name}",
            hints=["leave out --engine", "--board raspberry_pi_4"],
        )
    return target
