"""The board's side of a firmware: start-up code, linker script, port, all fixed but for data."""

from __future__ import annotations

from boards import Board
from boards.console import console_of
from codegen.emit import support
from codegen.render import render

STACK_BYTES = 2048
SUPPORT = (
    "startup.c",
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


def board_files(board: Board, stack_bytes: int = STACK_BYTES) -> dict[str, str]:
    """Return what differs between boards: the header of addresses and the linker script.

    Everything in RAM goes to the largest contiguous piece of on-chip RAM.

    Args:
        board: any Cortex-M board.
        stack_bytes: bytes reserved for the stack, a multiple of 8.
    """
    values = {"board": board, "stack_bytes": stack_bytes}
    header = render(
        "project/tsr_board.h.j2",
        console=console_of(board),
        semihosting=bool(board.emulation.qemu),
        **values,
    )
    script = render("project/board.ld.j2", flash=board.flash, ram=board.ram, **values)
    return {f"include/{board.id}/tsr_board.h": header, linker_script(board): script}
