"""``tessera boards``: list the boards, or those that a model fits."""

from __future__ import annotations

from pathlib import Path

import click

from boards import Board, all_boards
from toolchain.cli.report import Reporter, common_options
from toolchain.cli.table import kib, print_table


@click.command()
@click.option(
    "--fits",
    "model",
    metavar="MODEL",
    type=click.Path(path_type=Path),
    help="Only boards that this model fits.",
)
@common_options
def command(reporter: Reporter, model: Path | None) -> int:
    """List the known boards, or those that a model fits."""
    chosen = all_boards()
    needs: dict[str, int] = {}
    if model is not None:
        chosen, needs = _fitting(reporter, model)
        if not chosen:
            reporter.say("no known board fits")
    print_table(
        reporter,
        ("id", "core", ">MHz", ">RAM", ">largest piece", ">flash", "instructions", "emulator"),
        [_row(board) for board in chosen],
    )
    return reporter.result({"boards": [_facts(board) for board in chosen], **needs})


def _fitting(reporter: Reporter, model: Path) -> tuple[tuple[Board, ...], dict[str, int]]:
    """Return the boards that ``model`` fits and the least RAM it needs on one of them."""
    from toolchain.cli.pipeline import footprint, load_graph, plan_for

    graph = load_graph(model, reporter)
    # A plan depends on the board's instruction set only.
    first = {board.isa: board for board in all_boards()}
    plans = {isa: plan_for(graph, board) for isa, board in first.items()}
    needs = {board: footprint(graph, plans[board.isa], board) for board in all_boards()}
    fitting = tuple(board for board, fit in needs.items() if fit.fits)
    least = min((needs[board].ram_total_bytes for board in fitting), default=0)
    return fitting, {"least_ram_total_bytes": least}


def _row(board: Board) -> tuple[object, ...]:
    emulator = (board.emulation.unicorn and "exact map") or (board.emulation.qemu and "qemu") or "-"
    return (
        board.id,
        board.core,
        board.mhz,
        kib(_total(board, "ram")),
        kib(board.ram.size),
        kib(_total(board, "flash")),
        board.isa,
        emulator,
    )


def _facts(board: Board) -> dict[str, object]:
    regions = [
        {"name": r.name, "kind": r.kind, "start": r.start, "bytes": r.size} for r in board.regions
    ]
    return {"id": board.id, "core": board.core, "mhz": board.mhz, "regions": regions}


def _total(board: Board, kind: str) -> int:
    return sum(region.size for region in board.regions if region.kind == kind)
