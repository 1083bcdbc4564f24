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
    from codegen.model import Call
    from codegen.stream import CStream
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
    from runtimes.emulator.cycles import profile
    from toolchain.cli.targets import start_emulator

    stages = build_model(project.graph, project.plan, project.name).stages
    case = random_cases(project.graph.input_tensors, 1, 0)[0]
    with tempfile.TemporaryDirectory() as folder:
        measured = profile(start_emulator(project, Path(folder)), case)
    layers = [
        {
            **_layer(stage),
            "instructions": spent.instructions,
            "cycles_estimate": spent.cycles,
        }
        for stage, spent in zip(stages, measured.layers, strict=True)
    ]
    say_layers(reporter, layers, measured.instructions)
    reporter.say(
        f"{measured.instructions:,} instructions, about {measured.cycles:,} cycles on "
        f"{measured.core} ({measured.trust})"
    )
    return {
        "core": measured.core,
        "instructions": measured.instructions,
        "cycles_estimate": measured.cycles,
        "layers": layers,
    }


def _layer(stage: Call | CStream) -> dict[str, Any]:
    """Return name, operator and work of a stage; a stream counts as one."""
    from codegen.model import Call

    if isinstance(stage, Call):
        return {"name": stage.node, "op": stage.identifier[3:], "macs": stage.macs}
    macs = sum(step.call.macs for step in stage.steps)
    return {"name": f"{stage.first} .. {stage.last}", "op": "stream", "macs": macs}


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
