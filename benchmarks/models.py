"""Compile every ``.tflite`` below a folder, run it everywhere, and print one row each.

    python -m benchmarks.models FOLDER_OR_FILE... [--cases 20] [--no-emulator]

Columns: arena of the plan and its lower bound in bytes; seconds to compile (no C compiler in it);
flash of the linked firmware beyond packed weights, biases and scales; instructions of one inference
and stack in the emulator; differing bytes of host C and emulator against the interpreter; and of
the interpreter against TFLite Micro's reference kernels (LiteRT's for uint8 files), an independent
runtime. A model too big for the board is emulated on one with more memory. ``--layers`` executes
layer by layer.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.counting import flash_of
from boards import load_board
from codegen.project import project_files
from runtimes.emulator.emulator import Emulator
from runtimes.toolchains import build_firmware
from toolchain.cli.arguments import random_cases
from toolchain.cli.pipeline import Project, load_graph, plan_for
from toolchain.cli.report import Reporter
from toolchain.cli.targets import compare, on_host
from toolchain.errors import FitError, TesseraError
from toolchain.ir import Array, Session
from toolchain.kernels import Isa
from toolchain.plan import plan_layers

BOARDS = ("nucleo_f446re", "emulator_m4_16m")
HEAD = (
    "model", "MMACs", "arena", "bound", "seconds", "code", "instructions", "stack", "host",
    "emulator", "oracle",
)  # fmt: skip
FORMAT = "{:<34} {:>8} {:>9} {:>9} {:>7} {:>7} {:>13} {:>6} {:>8} {:>8} {:>8}"


@dataclass(frozen=True)
class Emulated:
    """What the linked firmware shows."""

    code_bytes: int
    instructions: int
    stack_bytes: int
    mismatched: int


def measure(path: Path, count: int, *, emulate: bool, layers: bool) -> tuple[object, ...]:
    """Return the row of one model."""
    reporter = Reporter(quiet=True, json=True)
    start = time.perf_counter()
    graph = load_graph(path, reporter)
    board = load_board(BOARDS[0])
    plan = plan_layers(graph, Isa[board.isa.upper()]) if layers else plan_for(graph, board)
    files = project_files(graph, plan, board, name="model")
    seconds = time.perf_counter() - start
    project = Project(path.parent, graph, plan, board, "model")
    cases = random_cases(graph.input_tensors, count, seed=1)
    session = Session(graph)
    expected = [session.run(case) for case in cases]
    host = compare("host", expected, on_host(project, cases, reporter)).mismatched_bytes
    emulated = _emulate(project, files, cases, expected) if emulate else None
    return (
        path.stem,
        f"{graph.macs / 1e6:.3f}",
        plan.arena_bytes,
        plan.lower_bound_bytes,
        f"{seconds:.2f}",
        emulated.code_bytes if emulated else "-",
        f"{emulated.instructions:,}" if emulated else "-",
        emulated.stack_bytes if emulated else "-",
        host,
        emulated.mismatched if emulated else "-",
        _oracle(path, cases, expected),
    )


def _emulate(
    project: Project,
    files: dict[str, str],
    cases: Sequence[Sequence[Array]],
    expected: Sequence[Sequence[Array]],
) -> Emulated:
    with tempfile.TemporaryDirectory() as folder:
        board = project.board
        try:
            firmware = build_firmware(files, board, Path(folder))
        except FitError:
            board = load_board(BOARDS[1])
            files = project_files(project.graph, project.plan, board, name="model")
            firmware = build_firmware(files, board, Path(folder))
        emulator = Emulator(firmware, board, project.graph, project.plan.hash)
        runs = [emulator.run(case) for case in cases]
    return Emulated(
        flash_of(project.graph, project.plan, firmware.flash_bytes).code,
        max(one.instructions for one in runs),
        max(one.stack_bytes for one in runs),
        compare("emulator", expected, [one.outputs for one in runs]).mismatched_bytes,
    )


def _oracle(
    path: Path, cases: Sequence[Sequence[Array]], expected: Sequence[Sequence[Array]]
) -> object:
    """Return the bytes that differ from the first independent runtime that runs the model."""
    for runtime in (_tflite_micro, _litert):
        try:
            got = runtime(path, cases, len(expected[0]))
        except (ImportError, RuntimeError, ValueError):
            continue
        return compare("oracle", expected, got).mismatched_bytes
    return "-"


def _tflite_micro(path: Path, cases: Sequence[Sequence[Array]], outputs: int) -> list[list[Array]]:
    from tflite_micro.python.tflite_micro import runtime

    interpreter = runtime.Interpreter.from_bytes(path.read_bytes(), arena_size=64_000_000)
    got = []
    for case in cases:
        for index, value in enumerate(case):
            interpreter.set_input(value, index)
        interpreter.invoke()
        got.append([np.array(interpreter.get_output(index)) for index in range(outputs)])
    return got


def _litert(path: Path, cases: Sequence[Sequence[Array]], outputs: int) -> list[list[Array]]:
    """Run legacy uint8 files, which TFLite Micro refuses, on LiteRT's reference kernels."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_REF, num_threads=1
    )
    interpreter.allocate_tensors()
    ins, outs = interpreter.get_input_details(), interpreter.get_output_details()
    got = []
    for case in cases:
        for detail, value in zip(ins, case, strict=True):
            interpreter.set_tensor(detail["index"], value)
        interpreter.invoke()
        got.append([interpreter.get_tensor(detail["index"]) for detail in outs[:outputs]])
    return got


def models(paths: Sequence[Path]) -> Iterator[Path]:
    """Yield the files and all ``.tflite`` files below the folders of ``paths``."""
    for path in paths:
        yield from sorted(path.rglob("*.tflite")) if path.is_dir() else [path]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--no-emulator", action="store_true")
    parser.add_argument("--layers", action="store_true")
    options = parser.parse_args()
    print(FORMAT.format(*HEAD))
    for path in models(options.paths):
        try:
            row = measure(
                path, options.cases, emulate=not options.no_emulator, layers=options.layers
            )
            print(FORMAT.format(*map(str, row)), flush=True)
        except TesseraError as error:
            print(f"{path.stem:<34} error[{error.code}]: {error.what}", flush=True)


if __name__ == "__main__":
    main()
