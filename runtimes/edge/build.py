"""Compile a package's library: for this computer, or for a board with the ziglang wheel's clang."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from boards import Board
from codegen.edge import FLAGS
from codegen.render import render
from runtimes.host.library import WARNINGS, host_compiler, write_files
from runtimes.toolchains import zig, zig_cache
from toolchain.errors import InternalError, ToolError
from toolchain.ir.graph import Graph
from toolchain.ir.tensor import Array

_GLIBC = ".2.28"  # of Debian 10: the library loads on every system that is still maintained


def build_library(sources: Sequence[str], board: Board, folder: Path, library: Path) -> Path:
    """Compile and link the C files of a package.

    Args:
        sources: their paths below ``folder``.
        board: a board that runs Linux.
        folder: the package's project.
        library: where the result goes; replaced atomically.

    Raises:
        ToolError: E601 without a compiler, E602 if it refuses the code.
    """
    fresh = library.with_suffix(".new")
    _compile([*_compiler(board, static=False), *FLAGS], sources, folder, fresh)
    fresh.replace(library)
    return library


def _compiler(board: Board, *, static: bool) -> list[str]:
    """Return the command that makes libraries, or static programs, for ``board``."""
    assert board.linux is not None
    if board.linux.native:
        return [*host_compiler(), "-march=native"]
    compiler = zig()
    if compiler is None:
        raise ToolError(
            "E601", f"no cross compiler for {board.name}", hints=['pip install "tessera[mcu]"']
        )
    target = board.linux.target
    target = target.replace("gnu", "musl") if static else target + _GLIBC
    command = [*compiler.command, "-target", target, f"-mcpu={board.linux.cpu}"]
    return [*command, "-fno-sanitize=all", *(["-static"] if static else [])]


def _compile(command: Sequence[str], sources: Sequence[str], folder: Path, output: Path) -> None:
    includes = sorted({f"-I{Path(s).parent}" for s in sources})
    includes += sorted({f"-I{Path(s).parent.parent / 'include'}" for s in sources})
    done = subprocess.run(
        [*command, *WARNINGS, *includes, *sources, "-o", str(output.resolve()), "-lm"],
        cwd=folder, env={**os.environ, **zig_cache()}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise ToolError("E602", "the C compiler refused the code", where=done.stderr[-4000:])


class EmulatedProcess:
    """A network as a program for a board that runs Linux, executed by QEMU's user mode.

    Args:
        graph: the network.
        files: its C with instances: `codegen.edge.edge_library`.
        board: a board that is not this computer.
        folder: where to build.
        prefix: C prefix of the network.

    Raises:
        ToolError: E601 without cross compiler or emulator, E602 if the code is refused.
    """

    def __init__(
        self, graph: Graph, files: Mapping[str, str], board: Board, folder: Path, prefix: str
    ) -> None:
        self._graph, self._program = graph, (folder / "batch").resolve()
        self._emulator = emulator(board)
        if self._emulator is None:
            raise ToolError(
                "E601", f"no emulator for {board.name}", hints=["apt-get install qemu-user"]
            )
        ports = {"inputs": graph.input_tensors, "outputs": graph.output_tensors}
        values = {"p": prefix, "feed": False, "pull": False, "instances": True}
        program = render("host/batch.c.j2", **values, **ports)
        write_files({**files, "src/main.c": program}, folder)
        sources = [name for name in (*files, "src/main.c") if name.endswith(".c")]
        flags = [flag for flag in FLAGS if flag not in ("-fPIC", "-shared")]
        command = [*_compiler(board, static=True), *flags]
        _compile(command, sources, folder, self._program)

    def run(self, cases: Sequence[Sequence[Array]]) -> list[list[Array]]:
        """Run cases in one process, one array per graph input each; return the outputs of each.

        Raises:
            InternalError: E902 if the program fails.
        """
        from runtimes.host.pipe import join_cases, split_outputs

        assert self._emulator is not None
        data = join_cases(self._graph.input_tensors, cases)
        done = subprocess.run(
            [self._emulator, str(self._program)], input=data, capture_output=True, check=False
        )
        if done.returncode:
            report = done.stderr.decode("utf-8", "replace")[:4000]
            raise InternalError("E902", "the program stopped", where=report)
        return split_outputs(self._graph.output_tensors, done.stdout, len(cases))


def emulator(board: Board) -> str | None:
    """Return the program that runs the board's programs here, ``None`` if there is none."""
    if board.linux is None or board.linux.native:
        return None
    return shutil.which(f"qemu-{board.linux.architecture}")
