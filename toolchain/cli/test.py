"""``tessera test``: a project's outputs on host and emulator, bit by bit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from toolchain.cli.arguments import load_cases, project_argument, random_cases
from toolchain.cli.report import Reporter, common_options
from toolchain.cli.table import print_table

if TYPE_CHECKING:
    from boards import Board
    from toolchain.cli.pipeline import Project
    from toolchain.cli.targets import Comparison
    from toolchain.ir import Array

_DIFFER = 4


@click.command()
@project_argument()
@click.option("--inputs", type=click.Path(path_type=Path), help="N cases, .npy or .npz.")
@click.option(
    "--outputs", type=click.Path(path_type=Path), help="Expected outputs of the cases, to compare."
)
@click.option("--random", "count", default=20, show_default=True, help="Cases without --inputs.")
@click.option("--seed", default=0, show_default=True, help="Seed of random cases.")
@common_options
def command(
    reporter: Reporter,
    project: Path,
    inputs: Path | None,
    outputs: Path | None,
    count: int,
    seed: int,
) -> int:
    """Run the project in DIR on host and emulator and compare with the interpreter."""
    from toolchain.cli.pipeline import open_project

    opened = open_project(project, reporter)
    ports = opened.graph.input_tensors
    cases = load_cases(inputs, ports) if inputs else random_cases(ports, count, seed)
    given = load_cases(outputs, opened.graph.output_tensors) if outputs else None
    compared = check_project(opened, cases, reporter, given)
    same = say_comparisons(reporter, compared, len(cases))
    facts = {"cases": len(cases), "targets": [one.facts() for one in compared]}
    return reporter.result(facts, 0 if same else _DIFFER)


def check_project(
    project: Project,
    cases: Sequence[Sequence[Array]],
    reporter: Reporter,
    given: Sequence[Sequence[Array]] | None = None,
) -> list[Comparison]:
    """Run ``cases`` on every target and compare with the interpreter (and with ``given``)."""
    from toolchain.cli.targets import (
        compare,
        interpret,
        on_emulated_linux,
        on_emulator,
        on_host,
    )

    expected = interpret(project, cases, reporter)
    compared = [] if given is None else [compare("given outputs", expected, given)]
    compared.append(compare("host", expected, on_host(project, cases, reporter)))
    if can_emulate(project.board):
        runs = on_emulator(project, cases, reporter)
        compared.append(
            compare(
                "emulator",
                expected,
                [run.outputs for run in runs],
                instructions=max(run.instructions for run in runs),
                stack_bytes=max(run.stack_bytes for run in runs),
            )
        )
    elif runs_in_user_mode(project.board):
        compared.append(compare("emulator", expected, on_emulated_linux(project, cases)))
    elif not (project.board.linux and project.board.linux.native):
        reporter.warn(f"there is no emulator for {project.board.id}; tested on the host only")
    return compared


def can_emulate(board: Board) -> bool:
    """Tell whether some emulator runs the board's own firmware."""
    return bool(board.emulation.unicorn or board.emulation.qemu)


def runs_in_user_mode(board: Board) -> bool:
    """Tell whether QEMU's user mode is here and runs the Linux board's programs."""
    from runtimes.edge.build import emulator

    return emulator(board) is not None


def say_comparisons(reporter: Reporter, compared: Sequence[Comparison], cases: int) -> bool:
    """Print the table of targets; tell whether all outputs are identical."""
    rows = [
        (
            one.name,
            cases,
            f"{one.mismatched_bytes:,}",
            f"{one.max_abs_diff:g}",
            "" if one.instructions is None else f"{one.instructions:,}",
            "" if one.stack_bytes is None else f"{one.stack_bytes:,}",
        )
        for one in compared
    ]
    head = ("target", ">cases", ">differing bytes", ">max diff", ">instructions", ">stack bytes")
    print_table(reporter, head, rows)
    same = not any(one.mismatched_bytes for one in compared)
    reporter.say("outputs identical" if same else "outputs differ from the interpreter")
    return same
