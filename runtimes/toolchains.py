"""Cross compilers for Cortex-M: Debian's GCC where it is installed, else the ziglang wheel's clang.

Both get the same C, linker script and memory functions; start-up code and the C library of the
compiler are not used.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from boards import Board
from codegen.cores import (
    GCC_LINK_FLAGS,
    OPTIMISE,
    ZIG_LINK_FLAGS,
    gcc_core_flags,
    zig_core_flags,
)
from codegen.firmware import linker_script
from runtimes.cache import cache_folder
from runtimes.host.library import WARNINGS, write_files
from toolchain.errors import FitError, ToolError, UsageError

ARENA = "arena_words"  # how the C of a network names its arena


@dataclass(frozen=True)
class Toolchain:
    """A cross compiler.

    Attributes:
        name: ``"gcc"`` or ``"zig"``.
        command: how to start it.
    """

    name: str
    command: tuple[str, ...]

    def flags(self, board: Board) -> tuple[str, ...]:
        """Return the flags that choose the board's core and floating-point unit."""
        if self.name == "gcc":
            return (*gcc_core_flags(board), *GCC_LINK_FLAGS)
        headers = str(resources.files("runtimes.mcu") / "freestanding")
        return (*zig_core_flags(board), f"-isystem{headers}", *ZIG_LINK_FLAGS)


@dataclass(frozen=True)
class Firmware:
    """A linked firmware.

    Attributes:
        elf: the file.
        board: the board it is linked for.
        sections: bytes of each section that takes memory.
        flash_bytes: code, constants and initial values.
        ram_bytes: variables, arena and the reserved stack.
        arena_bytes: arenas of the networks among them, as the linker placed them.
        pieces: bytes of RAM in each contiguous piece of the board's, by its name.
    """

    elf: Path
    board: Board
    sections: Mapping[str, int]
    flash_bytes: int
    ram_bytes: int
    arena_bytes: int
    pieces: Mapping[str, int]


def gcc() -> Toolchain | None:
    """Return the system's ``arm-none-eabi-gcc``, ``None`` if there is none."""
    found = shutil.which("arm-none-eabi-gcc")
    return Toolchain("gcc", (found,)) if found else None


def zig() -> Toolchain | None:
    """Return the ziglang wheel's clang, ``None`` if the wheel is not installed."""
    if importlib.util.find_spec("ziglang") is None:
        return None
    return Toolchain("zig", (sys.executable, "-m", "ziglang", "cc"))


def find_toolchain() -> Toolchain:
    """Return the cross compiler to use; ``TESSERA_TOOLCHAIN=gcc|zig`` chooses.

    Raises:
        ToolError: E601 if there is none.
        UsageError: E107 if the variable names neither.
    """
    finders = {"gcc": gcc, "zig": zig}
    chosen = os.environ.get("TESSERA_TOOLCHAIN")
    if chosen is not None and chosen not in finders:
        raise UsageError("E107", f"TESSERA_TOOLCHAIN must be gcc or zig, not {chosen!r}")
    for name in [chosen] if chosen else ["gcc", "zig"]:
        if found := finders[name]():
            return found
    raise ToolError(
        "E601",
        f"no cross compiler for Cortex-M found ({chosen or 'arm-none-eabi-gcc, ziglang'})",
        hints=['pip install "tessera[mcu]"', "apt install gcc-arm-none-eabi"],
    )


def build_firmware(
    files: Mapping[str, str], board: Board, folder: Path, toolchain: Toolchain | None = None
) -> Firmware:
    """Write a project's ``files`` below ``folder``, compile and link them for ``board``.

    Args:
        files: ``{path: text}`` of `codegen.project.project_files` or of the same layout: sources
            in ``src`` and ``lib/<library>/src``, headers also in ``include/<board>``.
        board: a Cortex-M board whose header and linker script are among ``files``.
        folder: where to write; the firmware becomes ``firmware.elf`` there.
        toolchain: the compiler, by default `find_toolchain`.

    Raises:
        ToolError: E601 without a compiler, E602 if it refuses the code.
        FitError: E302 if the linker finds that a region overflows.
    """
    write_files(files, folder)
    return link(files, board, folder, toolchain)


def link(
    names: Iterable[str],
    board: Board,
    folder: Path,
    toolchain: Toolchain | None = None,
    extra: Sequence[str] = (),
) -> Firmware:
    """Compile and link a project that lies in ``folder``: see `build_firmware`.

    Args:
        names: relative paths of the project's files.
        board: as there.
        folder: as there.
        toolchain: as there.
        extra: more flags, after all others.
    """
    chosen = toolchain or find_toolchain()
    names = list(names)
    sources = [n for n in names if n.endswith(".c") and n.startswith(("src/", "lib/"))]
    headers = {str(Path(n).parent) for n in names if n.endswith(".h")}
    includes = [f"-I{d}" for d in sorted(headers) if not d.startswith("include/")]
    arguments = [
        *chosen.flags(board), *WARNINGS, *OPTIMISE, "-DTSR_PROFILE=1", f"-Iinclude/{board.id}",
        *includes, *sources, f"-T{linker_script(board)}", "-Wl,--gc-sections", *extra,
        "-o", "firmware.elf",
    ]  # fmt: skip
    environment = {**os.environ, **zig_cache()}
    done = subprocess.run(
        [*chosen.command, *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise _failure(done.stderr, board)
    return measure(folder / "firmware.elf", board)


def measure(elf: Path, board: Board) -> Firmware:
    """Return the firmware in ``elf`` with its sizes."""
    from elftools.elf.elffile import ELFFile

    with elf.open("rb") as stream:
        file = ELFFile(stream)
        allocated = [s for s in file.iter_sections() if s["sh_flags"] & 2]
        symbols = list(file.get_section_by_name(".symtab").iter_symbols())
    arena = sum(int(s["st_size"]) for s in symbols if s.name.startswith(ARENA))
    sizes = {s.name: int(s["sh_size"]) for s in allocated if s["sh_size"]}
    pieces = {
        block.name: sum(s["sh_size"] for s in allocated if block.start <= s["sh_addr"] < block.end)
        for block in board.ram_blocks
    }
    ram = sum(pieces.values())
    stored = sum(sizes.values()) - ram + sum(sizes[name] for name in sizes if _copied(name))
    return Firmware(elf, board, sizes, stored, ram, arena, pieces)


def _copied(section: str) -> bool:
    """Tell whether a section's bytes lie in flash and are copied to RAM at start."""
    return section.startswith(".data")


def _failure(message: str, board: Board) -> ToolError | FitError:
    overflow = [line.strip() for line in message.splitlines() if "overflowed by" in line]
    if overflow:
        return FitError("E302", f"the firmware does not fit {board.id}", where="; ".join(overflow))
    return ToolError("E602", "the cross compiler refused the code", where=message.strip()[-4000:])


def zig_cache() -> dict[str, str]:
    """Return the variable that keeps zig's compiled run-time library out of the home folder."""
    if "ZIG_GLOBAL_CACHE_DIR" in os.environ:
        return {}
    return {"ZIG_GLOBAL_CACHE_DIR": str(cache_folder() / "zig")}
