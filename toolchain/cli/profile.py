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
    from toolchain.cli.targets import start_emulator

    calls = build_model(project.graph, project.plan, project.name).calls
    with tempfile.TemporaryDirectory() as folder:
        emulator = start_emulator(project, Path(folder))
        run = emulator.run(random_cases(project.graph.input_tensors, 1, 0)[0])
        cycles = estimate(emulator)
    layers = [
        {
            "name": call.node,
            "op": call.identifier[3:],
            "macs": call.macs,
            "instructions": counted.instructions,
            "cycles_estimate": spent,
        }
        for call, counted, spent in zip(calls, run.layers, cycles.layers, strict=True)
    ]
    say_layers(reporter, layers, run.instructions)
    reporter.say(
        f"{run.instructions:,} instructions, about {cycles.total:,} cycles on "
        f"{project.board.core} ({cycles.trust}), stack {run.stack_bytes:,} bytes"
    )
    return {
        "core": project.board.core,
        "instructions": run.instructions,
        "cycles_estimate": cycles.total,
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
            f"{layer['cycles_estimate']:,}",
            f"{100 * layer['instructions'] / max(1, total):.1f} %",
            layer["name"],
        )
        for number, layer in enumerate(layers)
    ]
    head = (">#", "operator", ">MACs", ">instructions", ">per MAC", ">cycles", ">share", "layer")
    print_table(reporter, head, rows)
