"""``tessera validate``: the connected board against the interpreter, with cycles per layer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from toolchain.cli.arguments import load_cases, project_argument, random_cases
from toolchain.cli.report import Reporter, common_options

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
    compared, board = validate_project(reporter, opened, cases, port)
    same = say_comparisons(reporter, [compared], len(cases))
    facts = {"cases": len(cases), "targets": [compared.facts()], **board}
    return reporter.result(facts, 0 if same else _DIFFER)


def validate_project(
    reporter: Reporter, project: Project, cases: Sequence[Sequence[Array]], port: str | None
) -> tuple[Comparison, dict[str, Any]]:
    """Run ``cases`` on the board, print its cycles and compare with the interpreter.

    Returns:
        The comparison, and what the first case took: ``cycles`` and ``layers``.

    Raises:
        DeviceError: E501 to E504 if there is no board, its port is busy, it runs another plan, or
            it is unplugged.
    """
    from runtimes.device.port import Device, find_port
    from toolchain.cli.targets import compare, interpret, progress

    with Device(port or find_port(), project.graph, project.plan.hash) as device:
        runs = [device.run(case) for case in progress(reporter, "board", cases)]
        clock = device.info.clock_hz
    layers = _say_cycles(reporter, project, runs[0], clock)
    expected = interpret(project, cases, reporter)
    stack = max(run.stack_bytes for run in runs)
    compared = compare("board", expected, [run.outputs for run in runs], stack_bytes=stack)
    return compared, {"cycles": runs[0].ticks, "layers": layers}


def _say_cycles(
    reporter: Reporter, project: Project, run: DeviceRun, clock: int
) -> list[dict[str, Any]]:
    """Print the table of ``tessera profile`` with cycles that the board counted; return it."""
    from codegen.model import build_model
    from toolchain.cli.profile import known_layers, say_layers

    calls = build_model(project.graph, project.plan, project.name).calls
    known = zip(known_layers(project, calls), run.layers, strict=True)
    layers = [{**layer, "cycles": ticks} for layer, ticks in known]
    say_layers(reporter, layers, run.ticks)
    milliseconds = f", {1000 * run.ticks / clock:.3f} ms" if clock else ""
    reporter.say(f"{run.ticks:,} cycles{milliseconds} per inference")
    return layers
