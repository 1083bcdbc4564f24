"""Hot basic blocks: where in its code a kernel spends its instructions, with source lines.

Built on the emulator's counts of each halfword: neighbours that were executed equally often are one
block. Lines come from the firmware's DWARF line table (DWARF 5 standard, section 6.2), text from
the toolchain's objdump where there is one.
"""

from __future__ import annotations

import bisect
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from runtimes.emulator.cycles import costs_of, timing_of
from runtimes.emulator.emulator import Emulator
from runtimes.emulator.symbols import Function

_OBJDUMP = "arm-none-eabi-objdump"
_LINE = re.compile(r"^\s*[0-9a-f]+:\s+(\S.*?)\s*$")


@dataclass(frozen=True)
class Block:
    """Instructions that always run together.

    Attributes:
        address: of the first one.
        size: bytes.
        length: instructions.
        executions: how often it was entered.
        source: ``file:line`` of its first instruction, empty if unknown.
    """

    address: int
    size: int
    length: int
    executions: int
    source: str

    @property
    def instructions(self) -> int:
        """Return the instructions that all executions took."""
        return self.length * self.executions


@dataclass(frozen=True)
class Hot:
    """A function of the firmware and its blocks, the most expensive first."""

    name: str
    instructions: int
    blocks: tuple[Block, ...]


def hot_functions(emulator: Emulator) -> list[Hot]:
    """Return what the last inference executed, function by function, most expensive first."""
    machine = emulator.machine
    places = range(-1, emulator.info.layers)
    executed = sum((machine.executed(p)[0] for p in places), np.zeros(1, np.int64))
    timing = timing_of(machine.board.core)
    costs, _ = costs_of(machine.code, machine.block_starts, timing)
    base, lines = machine.board.flash.start, Lines(emulator.firmware.elf)
    found = []
    for function in machine.image.functions:
        first, last = ((at - base) // 2 for at in _reach(function))
        if 0 <= first < last <= costs.size:
            runs = list(_runs(executed[first:last], costs[first:last] > 0))
            blocks = [_block(lines, function.address, *run) for run in runs]
            ranked = sorted(blocks, key=lambda b: -b.instructions)
            total = sum(block.instructions for block in ranked)
            found += [Hot(function.name, total, tuple(ranked))] if total else []
    return sorted(found, key=lambda hot: -hot.instructions)


def _reach(function: Function) -> tuple[int, int]:
    return function.address, function.address + function.size


def _runs(
    executed: npt.NDArray[np.int64], starts: npt.NDArray[np.bool_]
) -> Iterator[tuple[int, int, int, int]]:
    """Yield (first halfword, halfwords, instructions, executions) of equal executions in a row."""
    edges = np.flatnonzero(np.diff(executed)) + 1
    for first, last in zip([0, *edges], [*edges, executed.size], strict=True):
        if executed[first]:
            length = int(np.count_nonzero(starts[first:last]))
            yield int(first), int(last - first), length, int(executed[first])


def _block(
    lines: Lines, address: int, first: int, halfwords: int, length: int, executions: int
) -> Block:
    start = address + 2 * first
    return Block(start, 2 * halfwords, length, executions, lines.at(start))


class Lines:
    """The source lines of a firmware's code.

    Args:
        elf: a firmware with debug information.
    """

    def __init__(self, elf: Path) -> None:
        from elftools.elf.elffile import ELFFile

        with elf.open("rb") as stream:
            file = ELFFile(stream)
            entries = list(_entries(file)) if file.has_dwarf_info() else []
        # Of equal addresses the last line counts; the end of code that lies before counts least.
        entries.sort(key=lambda entry: (entry[0], entry[1] != ""))
        self._addresses = [address for address, _ in entries]
        self._places = [place for _, place in entries]

    def at(self, address: int) -> str:
        """Return ``file:line`` of the instruction at ``address``, empty if unknown."""
        index = bisect.bisect_right(self._addresses, address) - 1
        return self._places[index] if index >= 0 else ""


def _entries(file: object) -> Iterator[tuple[int, str]]:
    dwarf = file.get_dwarf_info()  # type: ignore[attr-defined]
    for unit in dwarf.iter_CUs():
        program = dwarf.line_program_for_CU(unit)
        if program is None:
            continue
        header = program.header
        names = [entry.name.decode(errors="replace") for entry in header["file_entry"]]
        offset = 0 if header["version"] >= 5 else 1
        for entry in program.get_entries():
            state = entry.state
            if state is None:
                continue
            index = state.file - offset
            name = names[index] if 0 <= index < len(names) else ""
            yield state.address, "" if state.end_sequence else f"{Path(name).name}:{state.line}"


def disassemble(elf: Path, block: Block) -> list[str]:
    """Return the block's instructions as text; nothing without GNU's objdump for Arm."""
    tool = shutil.which(_OBJDUMP)
    if tool is None:
        return []
    reach = f"--start-address={block.address}", f"--stop-address={block.address + block.size}"
    done = subprocess.run(
        [tool, "-d", "--no-show-raw-insn", *reach, str(elf)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = (_LINE.match(line) for line in done.stdout.splitlines())
    return [" ".join(match[1].split()) for match in found if match]
