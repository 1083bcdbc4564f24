"""``tessera profile``: what every layer costs, counted exactly in the emulator."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from toolchain.cli.arguments import project_argument, random_cases
from toolchain.cli.report import Reporter, common_options
from toolchain.cli.table import print_table

if TYPE_CHECKING:
    from codegen.call import Call
    from runtimes.emulator.emulator import EmulatedRun, Emulator
    from toolchain.cli.pipeline import Project

_COLD = 0.01  # share of the run below which a function is left out, and of it a block
_BLOCKS = 3


@click.command()
@project_argument()
@click.option("--disassemble", is_flag=True, help="Show the instructions of the hottest blocks.")
@common_options
def command(reporter: Reporter, project: Path, disassemble: bool) -> int:
    """Run the project in DIR once in the emulator and show every layer.

    Below the layers stand the functions that took most of the instructions and their hot basic
    blocks: instructions that always run together, with the source line of the first one.
    """
    from toolchain.cli.pipeline import open_project

    opened = open_project(project, reporter)
    return reporter.result(profile_project(reporter, opened, disassemble=disassemble))


def profile_project(
    reporter: Reporter, project: Project, *, disassemble: bool = False
) -> dict[str, Any]:
    """Run one inference in the emulator, print layers and hot blocks, and return them."""
    from codegen.model import build_model
    from runtimes.emulator.cycles import estimate
    from runtimes.emulator.emulator import Emulator
    from toolchain.cli.targets import start_emulator

    calls = build_model(project.graph, project.plan, project.name).calls
    case = random_cases(project.graph.input_tensors, 1, 0)[0]
    with tempfile.TemporaryDirectory() as folder, start_emulator(project, Path(folder)) as emulator:
        exact = emulator if isinstance(emulator, Emulator) else None
        if exact:
            exact.machine.watch_stack()
            exact.machine.watch_flash()
        run = emulator.run(case)
        cycles = estimate(exact) if exact else None
        hot = _hot(exact, run.instructions, disassemble=disassemble) if exact else []
    layers = _layers(project, calls, run, exact, cycles.layers if cycles else None)
    say_layers(reporter, layers, run.instructions)
    say_hot(reporter, hot, run.instructions)
    if not exact:
        reporter.note("QEMU counts whole layers: no cycles, stacks of layers and blocks are known")
    about = f", about {cycles.total:,} cycles ({cycles.trust})" if cycles else ""
    if cycles and cycles.waits:
        about += f", {cycles.waits:,} of them waiting for the flash"
    reporter.say(
        f"{run.instructions:,} instructions{about} on {project.board.core}, "
        f"stack {run.stack_bytes:,} bytes"
    )
    return {
        "core": project.board.core,
        "instructions": run.instructions,
        "cycles_estimate": cycles.total if cycles else None,
        "flash_waits": cycles.waits if cycles else None,
        "cycles_trust": cycles.trust if cycles else None,
        "stack_bytes": run.stack_bytes,
        "layers": layers,
        "hot": hot,
    }


def _layers(
    project: Project,
    calls: Sequence[Call],
    run: EmulatedRun,
    emulator: Emulator | None,
    cycles: Sequence[int] | None,
) -> list[dict[str, Any]]:
    unknown = [None] * len(calls)
    stacks = emulator.machine.layer_stacks if emulator else unknown
    return [
        {
            **layer,
            "instructions": counted.instructions,
            "cycles_estimate": spent,
            "stack_bytes": stack,
        }
        for layer, counted, spent, stack in zip(
            known_layers(project, calls), run.layers, cycles or unknown, stacks, strict=True
        )
    ]


def known_layers(project: Project, calls: Sequence[Call]) -> list[dict[str, Any]]:
    """Return what is known of each layer before it runs: its name, kernel, work and scratch."""
    scratch = {slot.name: slot.size for slot in project.plan.slots}
    return [
        {
            "name": call.node,
            "op": call.identifier[3:],
            "kernel": call.function.template,
            "macs": call.macs,
            "scratch_bytes": scratch.get(f"{call.node}.scratch", 0),
        }
        for call in calls
    ]


def _hot(emulator: Emulator, total: int, *, disassemble: bool) -> list[dict[str, Any]]:
    """Return the functions that matter, with their hottest blocks."""
    from runtimes.emulator import blocks

    elf = emulator.firmware.elf
    functions = blocks.hot_functions(emulator)
    return [
        {
            "function": function.name,
            "instructions": function.instructions,
            "blocks": [
                {
                    "address": block.address,
                    "executions": block.executions,
                    "length": block.length,
                    "instructions": block.instructions,
                    "source": block.source,
                    "code": blocks.disassemble(elf, block) if disassemble else [],
                }
                for block in function.blocks[:_BLOCKS]
                if block.instructions >= _COLD * function.instructions
            ],
        }
        for function in functions
        if function.instructions >= _COLD * total
    ]


def say_layers(reporter: Reporter, layers: list[dict[str, Any]], total: int) -> None:
    """Print the table of layers.

    Args:
        reporter: where to.
        layers: with ``instructions`` of an emulator or, of a board, with ``cycles``.
        total: of the same over the whole inference.
    """
    rows = []
    for number, layer in enumerate(layers):
        spent = layer.get("instructions", layer.get("cycles", 0))
        row = (
            number,
            layer["op"],
            layer["kernel"],
            f"{layer['macs']:,}",
            _shown(layer.get("instructions")),
            f"{spent / layer['macs']:.2f}" if layer["macs"] else "",
            _shown(layer.get("cycles", layer.get("cycles_estimate"))),
            f"{100 * spent / max(1, total):.1f} %",
            f"{layer['scratch_bytes']:,}",
            _shown(layer.get("stack_bytes")),
            layer["name"],
        )
        rows.append(row)
    head = (
        ">#", "operator", "kernel", ">MACs", ">instructions", ">per MAC", ">cycles", ">share",
        ">scratch", ">stack", "layer",
    )  # fmt: skip
    print_table(reporter, head, rows)


def say_hot(reporter: Reporter, hot: list[dict[str, Any]], total: int) -> None:
    """Print the hot blocks of each function that matters."""
    rows: list[tuple[object, ...]] = []
    for function in hot:
        share = f"{100 * function['instructions'] / total:.1f} %"
        name = function["function"]
        for block in function["blocks"]:
            part = f"{100 * block['instructions'] / function['instructions']:.0f} %"
            numbers = f"{block['executions']:,}", block["length"]
            rows.append((name, share, f"0x{block['address']:08x}", *numbers, part, block["source"]))
            rows += [("", "", "", "", "", "", f"    {line}") for line in block["code"]]
            name = share = ""
    if rows:
        head = (
            "function", ">share", "block at", ">executions", ">instructions each", ">of function",
            "source",
        )  # fmt: skip
        print_table(reporter, head, rows)


def _shown(value: int | None) -> str:
    return "" if value is None else f"{value:,}"
