"""``tessera run``: compile, test and profile a model in one go."""

from __future__ import annotations

from pathlib import Path

import click

from toolchain.cli.arguments import board_option, load_cases, model_argument, random_cases
from toolchain.cli.planning import planning_options, wish
from toolchain.cli.reading import Reading, reading_options
from toolchain.cli.report import Reporter, common_options

_DIFFER = 4


@click.command()
@model_argument()
@board_option(required=True)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("build"),
    show_default=True,
    help="Folder of the project.",
)
@planning_options
@click.option("--inputs", type=click.Path(path_type=Path), help="N cases, .npy or .npz.")
@reading_options
@click.option("--flash", is_flag=True, help="Then flash the board and validate it.")
@common_options
def command(
    reporter: Reporter,
    model: Path,
    board: str,
    output: Path,
    max_ram: int | None,
    max_macs: str | None,
    effort: str,
    fed: bool,
    inputs: Path | None,
    reading: Reading,
    flash: bool,
) -> int:
    """Compile MODEL, run its firmware in the emulator, compare, and show every layer.

    With --flash the connected board is flashed and compared as well.
    """
    from toolchain.cli.compile import compile_model
    from toolchain.cli.profile import profile_project
    from toolchain.cli.test import can_emulate, check_project, say_comparisons

    choice = wish(max_ram, max_macs, fed=fed, effort=effort)
    project, compiled = compile_model(
        reporter, model, board, output, choice=choice, reading=reading
    )
    ports = project.graph.input_tensors
    cases = load_cases(inputs, ports) if inputs else random_cases(ports, 20, 0)
    profile = profile_project(reporter, project) if can_emulate(project.board) else None
    compared = check_project(project, cases, reporter)
    counted = None
    if flash:
        from toolchain.cli.flash import flash_project
        from toolchain.cli.validate import validate_project

        flash_project(reporter, project, None)
        same_bytes, counted = validate_project(reporter, project, cases, None)
        compared.append(same_bytes)
    same = say_comparisons(reporter, compared, len(cases))
    reporter.note(f"next: tessera flash {output} && tessera validate {output}")
    facts = {
        "compile": compiled,
        "profile": profile,
        "board": counted,
        "cases": len(cases),
        "targets": [one.facts() for one in compared],
    }
    return reporter.result(facts, 0 if same else _DIFFER)
