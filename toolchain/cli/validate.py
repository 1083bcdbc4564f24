"""``tessera validate``: the connected board against the interpreter, with cycles per layer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from toolchain.cli.arguments import load_cases, project_argument, random_cases
from toolchain.cli.report import Reporter, common_options
from toolchain.cli.table import print_table

if TYPE_CHECKING:
    from runtimes.device.client import DeviceRun
    from toolchain.cli.pipeline import Project
    from toolchain.cli.targets import Comparison
    from toolchain.ir import Array

_DIFFER = 4


@click.command()
@project_argument()
@click.option("--inputs", type=click.Path(path_type=Path), help="N cases, .npy or .npz.")
@click.option("--random", "count", default=10, show_default=True, help="Cases without --inputs.")
@click.option("--port", help="Serial port; found by itself if one board is connected.")
@common_options
def command(
    reporter: Reporter, project: Path, inputs: Path | None, count: int, port: str | None
) -> int:
    """Run cases on the board that runs the project in DIR and compare with the interpreter."""
    from toolchain.cli.pipeline import open_project
    from toolchain.cli.test import say_comparisons

    opened = open_project(project, reporter)
    ports = opened.graph.input_tensors
    cases = load_cases(inputs, ports) if inputs else random_cases(ports, count, 0)
    compared = validate_project(reporter, opened, cases, port)
    same = say_comparisons(reporter, [compared], len(cases))
    facts = {"cases": len(cases), "targets": [compared.facts()]}
    return reporter.result(facts, 0 if same else _DIFFER)


def validate_project(
    reporter: Reporter, project: Project, cases: Sequence[Sequence[Array]], port: str | None
) -> Comparison:
    """Run ``cases`` on the board, print its cycles and compare with the interpreter.

    Raises:
        DeviceError: E501 to E504 if there is no board, its port is busy, it runs another plan, or
            it is unplugged.
    """
    from runtimes.device.port import Device, find_port
    from toolchain.cli.targets import compare, interpret, progress

    with Device(port or find_port(), project.graph, project.plan.hash) as device:
        runs = [device.run(case) for case in progress(reporter, "board", cases)]
        clock = device.info.clock_hz
    _say_cycles(reporter, project, runs[0], clock)
    expected = interpret(project, cases, reporter)
    stack = max(run.stack_bytes for run in runs)
    return compare("board", expected, [run.outputs for run in runs], stack_bytes=stack)


def _say_cycles(reporter: Reporter, project: Project, run: DeviceRun, clock: int) -> None:
    from codegen.model import build_model

    calls = build_model(project.graph, project.plan, project.name).calls
    rows = [
        (number, call.identifier, f"{ticks:,}", f"{ticks / call.macs:.2f}" if call.macs else "")
        for number, (call, ticks) in enumerate(zip(calls, run.layers, strict=True))
    ]
    print_table(reporter, (">#", "layer", ">cycles", ">per MAC"), rows)
    milliseconds = f", {1000 * run.ticks / clock:.3f} ms" if clock else ""
    reporter.say(f"{run.ticks:,} cycles{milliseconds} per inference")
