"""``tessera compile``: a model becomes a C99 project for a board."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from toolchain.cli.arguments import board_option, model_argument
from toolchain.cli.engine import package_engine
from toolchain.cli.fitting import require_fit
from toolchain.cli.planning import (
    NO_WISH,
    Wish,
    both_inputs,
    planning_options,
    read_plan_file,
    wish,
)
from toolchain.cli.reading import AS_IT_IS, Reading, reading_options
from toolchain.cli.report import Reporter, common_options
from toolchain.cli.sizes import Size
from toolchain.cli.split import package_split
from toolchain.cli.table import kib, millions, print_table
from toolchain.errors import UsageError

if TYPE_CHECKING:
    from boards import Board
    from toolchain.cli.pipeline import Project
    from toolchain.ir import Graph
    from toolchain.plan import Plan
    from toolchain.plan.fit import Fit, Usage


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
@click.option(
    "--plan", "plan_file", type=click.Path(path_type=Path), help="Execute this plan.json."
)
@click.option(
    "--engine",
    type=click.Choice(["onnxruntime", "tflite"]),
    help="Leave the model to this runtime: a Python package for a Linux board.",
)
@click.option(
    "--engine-for",
    "left",
    multiple=True,
    metavar="OPERATOR",
    help="Leave only these to the engine, by kind or name: the rest of the model is C. What "
    "is not supported goes with them; 'unsupported' names nothing else. May be repeated.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="With --engine-for: sample inputs to quantise a float ONNX model's C parts on.",
)
@click.option(
    "--frontend",
    type=click.Path(path_type=Path),
    help="Add C that turns sound or pictures into the input: a TOML file, [audio] or [image].",
)
@click.option(
    "--hot-weights",
    type=Size(),
    metavar="SIZE",
    help="Copy the weights that are read most to RAM at start, at most so many bytes of them; "
    "to tightly coupled memory first.",
)
@reading_options
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
    plan_file: Path | None,
    engine: str | None,
    left: tuple[str, ...],
    data: Path | None,
    frontend: Path | None,
    hot_weights: int | None,
    reading: Reading,
) -> int:
    """Compile MODEL into readable C99 and a PlatformIO project.

    For a board that runs Linux (raspberry_pi_4, host ...) the project is a Python package.
    """
    if engine and left:
        return package_split(reporter, model, board, output, (engine, left), data)
    if engine:
        return package_engine(reporter, model, board, output, engine)
    if left or data:
        raise UsageError("E101", "--engine-for and --data need --engine, and --data --engine-for")
    choice = plan_file or wish(max_ram, max_macs, fed=fed, effort=effort)
    _, facts = compile_model(
        reporter,
        model,
        board,
        output,
        choice=choice,
        reading=reading,
        frontend=frontend,
        hot_weights=hot_weights,
    )
    reporter.note(f"next: tessera test {output} --inputs images.npy")
    return reporter.result(facts)


def compile_model(
    reporter: Reporter,
    model: Path,
    board: str,
    output: Path,
    *,
    choice: Wish | Path = NO_WISH,
    reading: Reading = AS_IT_IS,
    frontend: Path | None = None,
    hot_weights: int | None = None,
) -> tuple[Project, dict[str, Any]]:
    """Compile ``model`` for ``board`` into ``output`` and print the table of memory.

    Args:
        reporter: where to print.
        model: the model file.
        board: the target's id.
        output: folder of the project.
        choice: what to ask of the planner, or the file of a plan.
        reading: how the file becomes a graph.
        frontend: the file of a front end that fills the network's input.
        hot_weights: most bytes of weights in RAM; those that a plan's file names by default.

    Returns:
        The project, and the ``result`` object of ``compile``.

    Raises:
        FitError: E301 if it does not fit; nothing is written then.
        UsageError: E149 if the board's start-up code is not ours, so that nobody copies weights.
    """
    from boards import load_board
    from toolchain.cli.pipeline import c_name, footprint, load_graph, write_model_project

    target = load_board(board)
    graph = load_graph(model, reporter, reading)
    if isinstance(choice, Path):
        plan = read_plan_file(choice, graph, target)
    else:
        plan = choice.plan(graph, target, reporter)
    if hot_weights is not None:
        plan = heated(graph, plan, target, hot_weights)
    fit = footprint(graph, plan, target)
    extra: dict[str, str] = {}
    if frontend:
        extra, ram_bytes = frontend_files(reporter, frontend, graph, c_name(model))
        fit = replace(fit, data_bytes=fit.data_bytes + ram_bytes)
    say_fit(reporter, graph, fit, target)
    effort = choice.effort if isinstance(choice, Wish) else "normal"
    inputs = both_inputs(graph, plan, target, effort)
    reporter.say(str(inputs))
    require_fit(graph, fit, plan, target)
    project = write_model_project(model, graph, plan, target, output, reading, extra)
    reporter.say(f"wrote {output}/ ({project.name}, plan {plan.hash[:8]})")
    return project, compile_facts(graph, plan, fit) | inputs.facts()


def heated(graph: Graph, plan: Plan, board: Board, most_bytes: int) -> Plan:
    """Return ``plan`` with the weights that are read most in RAM."""
    from toolchain.errors import UsageError
    from toolchain.plan.heat import with_hot_weights

    if not board.core.startswith("cortex-m"):
        what = f"{board.name} is no Cortex-M board: its own start-up code decides where weights lie"
        raise UsageError("E149", what, hints=["leave out --hot-weights"])
    return with_hot_weights(graph, plan, board, most_bytes)


def frontend_files(
    reporter: Reporter, path: Path, graph: Graph, prefix: str
) -> tuple[dict[str, str], int]:
    """Return the C files of the front end in ``path`` for the graph's input, and its RAM bytes."""
    from codegen.frontend import audio_files, audio_ram_bytes, image_files
    from toolchain.frontend import AudioFrontend, ImageFrontend, ImageSpec, read_frontend

    spec, port = read_frontend(path), graph.input_tensors[0]
    if isinstance(spec, ImageSpec):
        picture = ImageFrontend.of(spec, port)
        size = f"{port.shape[2]}x{port.shape[1]}"
        reporter.say(f"front end: {spec.width}x{spec.height} {spec.format} to {size}")
        return image_files(picture, prefix), 0
    made = AudioFrontend.of(spec, port)
    ram_bytes = audio_ram_bytes(made)
    reporter.say(
        f"front end: {made.frames} frames of {spec.features} features, one every "
        f"{spec.hop} samples; {ram_bytes:,} bytes of RAM beside the arena"
    )
    return audio_files(made, prefix), ram_bytes


def compile_facts(graph: Graph, plan: Plan, fit: Fit) -> dict[str, Any]:
    """Return the ``result`` object of ``compile``, without those of `Inputs`."""
    return {
        "fits": fit.fits,
        "arena_bytes": plan.arena_bytes,
        "regions": plan.regions,
        "stack_bytes": fit.stack_bytes,
        "input_bytes": sum(tensor.nbytes for tensor in graph.input_tensors),
        "output_bytes": sum(tensor.nbytes for tensor in graph.output_tensors),
        "hot_weight_bytes": sum(fit.hot.values()),
        "hot_weight_regions": dict(fit.hot),
        "ram_total_bytes": fit.ram_total_bytes,
        "flash_weights_bytes": graph.weight_bytes,
        "flash_total_bytes": fit.flash_total_bytes,
        "macs": graph.macs,
        "mac_factor": plan.mac_factor,
        "plan_hash": plan.hash,
    }


def say_fit(reporter: Reporter, graph: Graph, fit: Fit, board: Board) -> None:
    """Print the table of RAM and flash against the board."""
    from toolchain.plan.plan import ARENA

    reporter.say(
        f"{graph.name} on {board.name} ({board.core}, {board.mhz} MHz), {millions(graph.macs)}MACs"
    )
    ram, *banks, flash = fit.usages
    apart = sum(bank.needed - fit.hot.get(bank.region.name, 0) for bank in banks)
    rows = [
        _row("RAM", ram),
        ("  arena", kib(fit.arena_bytes - apart), "", ""),
        ("  stack", kib(fit.stack_bytes), "", ""),
        *_hot_row(fit, ARENA),
    ]
    for bank in banks:
        rows += [_row(f"RAM {bank.region.name}", bank), *_hot_row(fit, bank.region.name)]
    rows += [_row("flash", flash), ("  weights", kib(graph.weight_bytes), "", "")]
    print_table(reporter, ("memory", ">needed", ">available", ">used"), rows)
    reporter.say("fits" if fit.fits else "does not fit")


def _hot_row(fit: Fit, region: str) -> list[tuple[str, str, str, str]]:
    return [("  hot weights", kib(fit.hot[region]), "", "")] if fit.hot.get(region) else []


def _row(name: str, usage: Usage) -> tuple[str, str, str, str]:
    size = usage.region.size
    return name, kib(usage.needed), kib(size), share(usage.needed, size)


def share(part: int, whole: int) -> str:
    """Return ``part`` of ``whole`` in percent."""
    return f"{100 * part / whole:.1f} %"
