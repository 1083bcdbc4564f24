"""The board's side of a firmware: start-up code, linker script, port, all fixed but for data."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from boards import Board, Region
from boards.console import console_of
from codegen.arenas import hot_section_of, section_of
from codegen.emit import support
from codegen.render import render

STACK_BYTES = 2048
SUPPORT = (
    "startup.c",
    "tsr_cache.c",
    "tsr_cache.h",
    "tsr_frame.c",
    "tsr_frame.h",
    "tsr_libc.c",
    "tsr_port.c",
    "tsr_port.h",
    "tsr_protocol.c",
    "tsr_protocol.h",
)
FEED = ("tsr_feed.c", "tsr_feed.h")


def support_files(*, fed: bool = False) -> dict[str, str]:
    """Return the C that firmware shares, ``{path: text}`` below ``src``.

    Args:
        fed: whether the network takes its input row by row.
    """
    return {f"src/{name}": support(name) for name in (*SUPPORT, *(FEED if fed else ()))}


def linker_script(board: Board) -> str:
    """Return the path of a board's linker script in a project."""
    return f"ld/{board.id}.ld"


@dataclass(frozen=True)
class Bank:
    """A piece of RAM as the linker script shows it.

    Attributes:
        block: its addresses.
        arena: whether a part of an arena lies there.
        heated: whether weights are copied there.
    """

    block: Region
    arena: bool
    heated: bool

    @property
    def memory(self) -> str:
        """Return its name in the linker script."""
        return "BANK_" + re.sub(r"\W+", "_", self.block.name).upper()

    @property
    def section(self) -> str:
        """Return the section of arenas that goes there."""
        return section_of(self.block.name)

    @property
    def hot(self) -> str:
        """Return the section of hot weights that goes there, empty for none."""
        return hot_section_of(self.block.name) if self.heated else ""


def board_files(
    board: Board,
    stack_bytes: int = STACK_BYTES,
    regions: Collection[str] = (),
    heated: Collection[str] = (),
) -> dict[str, str]:
    """Return what differs between boards: the header of addresses and the linker script.

    Everything in RAM goes to the largest contiguous piece of on-chip RAM, but for arenas and hot
    weights that a plan puts elsewhere.

    Args:
        board: any Cortex-M board.
        stack_bytes: bytes reserved for the stack, a multiple of 8.
        regions: other pieces of RAM that hold arenas; those that the board has not are left out.
        heated: other pieces of RAM that hold hot weights.
    """
    banks = [
        Bank(block, block.name in regions, block.name in heated)
        for block in board.ram_blocks[1:]
        if block.name in {*regions, *heated}
    ]
    enable = [(at, 0, bits) for bank in banks for at, bits in bank.block.enable or ()]
    values = {"board": board, "stack_bytes": stack_bytes}
    header = render(
        "project/tsr_board.h.j2",
        console=console_of(board),
        semihosting=bool(board.emulation.qemu),
        enable=tuple(enable),
        **values,
    )
    places = {"flash": board.flash, "ram": board.ram, "banks": banks}
    script = render("project/board.ld.j2", **places, **values)
    return {f"include/{board.id}/tsr_board.h": header, linker_script(board): script}
