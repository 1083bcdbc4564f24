"""``tessera profile``: what every layer costs, counted exactly in the emulator."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from toolchain.cli.arguments import project_argument, random_cases
from toolchain.cli.report import Reporter, common_options
from toolchain.cli.table import print_table

if TYPE_CHECKING:
    from toolchain.cli.pipeline import Project


@click.command()
@project_argument()
@common_options
def command(reporter: Reporter, project: Path) -> int:
    """Run the project in DIR once in the emulator and show every layer."""
    from toolchain.cli.pipeline import open_project

    return reporter.result(profile_project(reporter, open_project(project, reporter)))


def profile_project(reporter: Reporter, project: Project) -> dict[str, Any]:
    """Run one inference in the emulator, print its layers and return them."""
    from codegen.model import build_model
    from runtimes.emulator.cycles import estimate
    from runtimes.emulator.emulator import Emulator
    from toolchain.cli.targets import start_emulator

    calls = build_model(project.graph, project.plan, project.name).calls
    case = random_cases(project.graph.input_tensors, 1, 0)[0]
    with tempfile.TemporaryDirectory() as folder, start_emulator(project, Path(folder)) as emulator:
        run = emulator.run(case)
        cycles = estimate(emulator) if isinstance(emulator, Emulator) else None
    layers = [
        {
            "name": call.node,
            "op": call.identifier[3:],
            "macs": call.macs,
            "instructions": counted.instructions,
            "cycles_estimate": spent,
        }
        for call, counted, spent in zip(
            calls, run.layers, cycles.layers if cycles else [None] * len(calls), strict=True
        )
    ]
    say_layers(reporter, layers, run.instructions)
    about = f", about {cycles.total:,} cycles ({cycles.trust})" if cycles else ""
    reporter.say(
        f"{run.instructions:,} instructions{about} on {project.board.core}, "
        f"stack {run.stack_bytes:,} bytes"
    )
    return {
        "core": project.board.core,
        "instructions": run.instructions,
        "cycles_estimate": cycles.total if cycles else None,
        "stack_bytes": run.stack_bytes,
        "layers": layers,
    }


def say_layers(reporter: Reporter, layers: list[dict[str, Any]], total: int) -> None:
    """Print the table of layers."""
    rows = [
        (
            number,
            layer["op"],
            f"{layer['macs']:,}",
            f"{layer['instructions']:,}",
            f"{layer['instructions'] / layer['macs']:.2f}" if layer["macs"] else "",
            f"{layer['cycles_estimate']:,}" if layer["cycles_estimate"] is not None else "",
            f"{100 * layer['instructions'] / max(1, total):.1f} %",
            layer["name"],
        )
        for number, layer in enumerate(layers)
    ]
    head = (">#", "operator", ">MACs", ">instructions", ">per MAC", ">cycles", ">share", "layer")
    print_table(reporter, head, rows)
