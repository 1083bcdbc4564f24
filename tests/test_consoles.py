"""Consoles: every board's firmware talks over its own UART, in the emulator as on the desk."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from boards import Board, all_boards
from boards.console import console_of
from tests.runtimes.networks import small_network
from toolchain.ir import run

BOARDS = [b for b in all_boards() if b.core.startswith("cortex-m")]
EMULATED = [b for b in BOARDS if b.emulation.unicorn]


@pytest.mark.parametrize("board", BOARDS, ids=lambda b: b.id)
def test_registers_lie_outside_of_memory(board: Board) -> None:
    for register in console_of(board).registers:
        assert not any(r.start <= register < r.end for r in board.regions)
        assert register % 4 == 0


@pytest.mark.parametrize("board", BOARDS, ids=lambda b: b.id)
def test_the_baud_rate_is_near_enough(board: Board) -> None:
    """A UART tolerates about 2 % between both ends."""
    console = console_of(board)
    if console.kind == "nrf":
        return
    unit = 450 if "lpuart" in console.kind else 115_200
    divisor = next(d for _, mask, d in console.setup if mask in (0xFFFF, 0xFFFFF))
    assert abs(console.clock_hz / divisor / unit - 1) < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("board", EMULATED, ids=lambda b: b.id)
def test_every_boards_firmware_runs_on_its_own_uart(board: Board, tmp_path: Path) -> None:
    network = small_network(board.id)
    inputs = network.inputs(0)
    done = network.emulator(tmp_path).run(inputs)
    np.testing.assert_array_equal(done.outputs, run(network.graph, inputs))


def test_no_board_is_listed_twice() -> None:
    from boards.console import _tables

    names = list(
        itertools.chain.from_iterable(
            entry["boards"] for table in _tables() for entry in table["consoles"]
        )
    )
    assert len(names) == len(set(names))
    assert set(names) <= {b.id for b in all_boards()}
