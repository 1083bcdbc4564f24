"""Run a project's cases where it can run, and compare every byte with the interpreter."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from toolchain.cli.report import Reporter

if TYPE_CHECKING:
    from runtimes.emulator.emulator import EmulatedRun, Emulator
    from runtimes.emulator.qemu import QemuEmulator
    from toolchain.cli.pipeline import Project
    from toolchain.ir import Array

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Comparison:
    """How the outputs of a target compare with the interpreter's, over all cases.

    Attributes:
        name: ``"host"``, ``"emulator"`` or ``"board"``.
        mismatched_bytes: bytes that differ.
        max_abs_diff: largest difference of an output value.
        instructions: executed per inference; ``None`` where they are not counted.
        stack_bytes: high-water mark of the stack; ``None`` where it is not measured.
    """

    name: str
    mismatched_bytes: int
    max_abs_diff: float
    instructions: int | None = None
    stack_bytes: int | None = None

    def facts(self) -> dict[str, Any]:
        """Return the entry of ``targets`` in ``--json``."""
        return dict(vars(self))


def compare(
    name: str, expected: Sequence[Sequence[Array]], got: Sequence[Sequence[Array]], **measured: Any
) -> Comparison:
    """Compare the outputs of N cases byte by byte."""
    mismatched, largest = 0, 0.0
    for want, have in zip(expected, got, strict=True):
        for a, b in zip(want, have, strict=True):
            mismatched += int(np.count_nonzero(_bytes(a) != _bytes(b)))
            gap = np.abs(a.astype(np.float64) - b.astype(np.float64))
            largest = max(largest, float(gap.max()))
    return Comparison(name, mismatched, largest, **measured)


def interpret(
    project: Project, cases: Sequence[Sequence[Array]], reporter: Reporter
) -> list[list[Array]]:
    """Return the interpreter's outputs of all cases, one sequence if the network has states."""
    from toolchain.ir import Session

    session = Session(project.graph)
    return [session.run(case) for case in progress(reporter, "interpreter", cases)]


def on_host(
    project: Project, cases: Sequence[Sequence[Array]], reporter: Reporter
) -> list[list[Array]]:
    """Compile the project's C for this machine and return its outputs of all cases."""
    from codegen.emit import emit
    from runtimes.host import build_host

    files = emit(project.graph, project.plan, project.name)
    with tempfile.TemporaryDirectory() as folder:
        model = build_host(project.graph, files, Path(folder), project.name)
        return [model.run(case) for case in progress(reporter, "host", cases)]


def on_emulator(
    project: Project, cases: Sequence[Sequence[Array]], reporter: Reporter
) -> list[EmulatedRun]:
    """Build the project's firmware and run all cases in the emulator of its board."""
    with tempfile.TemporaryDirectory() as folder, start_emulator(project, Path(folder)) as emulator:
        return [emulator.run(case) for case in progress(reporter, "emulator", cases)]


def on_emulated_linux(project: Project, cases: Sequence[Sequence[Array]]) -> list[list[Array]]:
    """Build the project's C for its Linux board and run all cases in QEMU's user mode."""
    from codegen.edge import edge_library
    from runtimes.edge.build import EmulatedProcess

    files = edge_library(project.graph, project.plan, project.name)
    with tempfile.TemporaryDirectory() as folder:
        board, name = project.board, project.name
        return EmulatedProcess(project.graph, files, board, Path(folder), name).run(cases)


def start_emulator(project: Project, folder: Path) -> Emulator | QemuEmulator:
    """Build the firmware of ``project`` in ``folder`` and load it into the board's emulator."""
    from codegen.project import project_files
    from runtimes.emulator.choose import open_emulator
    from runtimes.toolchains import build_firmware
    from toolchain.errors import ToolError

    if project.board.linux:
        raise ToolError(
            "E604",
            "instructions are counted on microcontrollers only",
            where=project.board.id,
            hints=["tessera boards"],
        )
    files = project_files(project.graph, project.plan, project.board, name=project.name)
    firmware = build_firmware(files, project.board, folder)
    return open_emulator(firmware, project.board, project.graph, project.plan.hash, project.name)


def progress(reporter: Reporter, what: str, items: Sequence[_Item]) -> Iterator[_Item]:
    """Yield ``items`` under a progress bar on stderr, where somebody is looking."""
    if reporter.json or reporter.quiet:
        yield from items
        return
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    disable = not console.is_terminal
    yield from track(items, what, console=console, transient=True, disable=disable)


def _bytes(array: Array) -> Array:
    return np.ascontiguousarray(array).view(np.uint8)
