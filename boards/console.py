"""How a board talks and tells time: its UART and tick counter, as register addresses.

Every supported UART can be driven by polling two flags and two data registers, so the same C and
the same emulator serve them all. The values are in ``boards/consoles``: one file per kind of UART
with its register offsets, and the boards that carry it.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from boards.board import Board

BAUD = 115_200


@dataclass(frozen=True)
class Flag:
    """A bit to poll: ready when ``register & mask == ready``."""

    address: int
    mask: int
    ready: int


@dataclass(frozen=True)
class Ticks:
    """A free-running counter.

    Attributes:
        address: its register.
        down: whether it counts down.
        systick: the 24-bit SysTick counter of cores without a cycle counter.
        setup: ``(address, bits to clear, bits to set)`` in order.
    """

    address: int
    down: bool = False
    systick: bool = False
    setup: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True)
class Console:
    """A UART and a tick counter.

    Attributes:
        kind: family of UARTs.
        rx: flag that is ready when a byte has come.
        tx: flag that is ready when a byte may go.
        rx_data: register to read a byte from.
        tx_data: register to write a byte to.
        events: the flags are event registers, cleared by writing 0 (Nordic).
        clock_hz: CPU clock as the firmware runs it: the reset clock, which needs no set-up.
        setup: ``(address, bits to clear, bits to set)`` in order.
        ticks: the tick counter.
    """

    kind: str
    rx: Flag
    tx: Flag
    rx_data: int
    tx_data: int
    events: bool
    clock_hz: int
    setup: tuple[tuple[int, int, int], ...]
    ticks: Ticks

    @property
    def registers(self) -> frozenset[int]:
        """Return the address of every register that firmware touches."""
        steps = (*self.setup, *self.ticks.setup)
        fixed = {self.rx.address, self.tx.address, self.rx_data, self.tx_data, self.ticks.address}
        return frozenset({*fixed, *(address for address, _, _ in steps)})


# Data watchpoint and trace unit: DEMCR.TRCENA, DWT_CTRL.CYCCNTENA (Armv7-M ARM, C1.6 and C1.8).
_TRACE, _COUNT = (0xE000_EDFC, 0, 1 << 24), (0xE000_1000, 0, 1)
_DWT = Ticks(0xE000_1004, setup=(_TRACE, _COUNT))
# The Cortex-M7's takes no writes before its lock access register has the CoreSight key.
_LOCKED_DWT = Ticks(0xE000_1004, setup=(_TRACE, (0xE000_1FB0, 0xFFFFFFFF, 0xC5ACCE55), _COUNT))
# SysTick from the processor clock with its interrupt, reload 2^24 - 1 (Armv6-M ARM, B3.3).
_SYSTICK = Ticks(
    0xE000_E018,
    down=True,
    systick=True,
    setup=((0xE000_E014, 0xFFFFFFFF, 0xFFFFFF), (0xE000_E018, 0xFFFFFFFF, 0), (0xE000_E010, 0, 7)),
)


def console_of(board: Board) -> Console:
    """Return the console of ``board``; a board that has none in the data gets QEMU's UART.

    With that fall-back a user's own board can be built and emulated; on its silicon only the
    library works, not the validation firmware.
    """
    for table in _tables():
        for entry in table["consoles"]:
            if board.id in entry["boards"]:
                return _console(table, entry, board)
    table = next(t for t in _tables() if t["kind"] == "cmsdk")
    return _console(table, {"base": 0x4000_4000, "clock": board.mhz * 1_000_000}, board)


@cache
def _tables() -> tuple[dict[str, Any], ...]:
    folder = resources.files("boards") / "consoles"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name)
    return tuple(tomllib.loads(f.read_text(encoding="utf-8")) for f in files)


def _console(table: dict[str, Any], entry: dict[str, Any], board: Board) -> Console:
    registers, base, clock = table["registers"], entry["base"], entry["clock"]
    divided = [
        (base + offset, mask, (clock + div // 2) // div) for offset, mask, div in table["baud"]
    ]
    enable = [(base + offset, clear, set_) for offset, clear, set_ in table["enable"]]
    return Console(
        table["kind"],
        _flag(base, registers["rx"]),
        _flag(base, registers["tx"]),
        base + registers["rx_data"],
        base + registers["tx_data"],
        bool(table.get("events", False)),
        clock,
        (*(tuple(step) for step in entry.get("setup", [])), *divided, *enable),
        _ticks(entry.get("ticks"), board),
    )


def _flag(base: int, values: list[int]) -> Flag:
    offset, mask, ready = values
    return Flag(base + offset, mask, ready)


def _ticks(entry: dict[str, Any] | None, board: Board) -> Ticks:
    if entry is None:
        known = {"cortex-m0": _SYSTICK, "cortex-m0plus": _SYSTICK, "cortex-m7": _LOCKED_DWT}
        return known.get(board.core, _DWT)
    setup = tuple((step[0], step[1], step[2]) for step in entry["setup"])
    return Ticks(entry["address"], bool(entry.get("down", False)), setup=setup)
