"""Start-up empties a core's caches and switches them on; DMA gets memory that it can share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from unicorn import UC_HOOK_MEM_WRITE

from boards import load_board
from boards.console import console_of
from codegen.firmware import board_files, support_files
from runtimes.emulator.machine import Machine
from runtimes.toolchains import Toolchain, build_firmware, gcc, zig

TOOLCHAINS = [pytest.param(t, id=t.name) for t in (gcc(), zig()) if t is not None]
CCR, CLIDR, CCSIDR, CSSELR = 0xE000_ED14, 0xE000_ED78, 0xE000_ED80, 0xE000_ED84
ICIALLU, DCISW, DCCIMVAC = 0xE000_EF50, 0xE000_EF60, 0xE000_EF70
INSTRUCTIONS, DATA = 1 << 17, 1 << 16
BOTH = 3
# Caches of 16 KB and of 4 KB, as the Cortex-M7 Technical Reference Manual (DDI 0489) has them: four
# ways of lines of 32 bytes.
SIZES = {128: 0xF00F_E019, 32: 0xF003_E019}
FLUSH = """#include "tsr_cache.h"
int main(void);
static uint8_t line[96] __attribute__((aligned(32)));
int main(void)
{
    tsr_cache_flush(line + 5, 60);
    return 0;
}
"""


class Silicon(Machine):
    """A board whose core says which caches it has; keeps what is written to its registers."""

    def __init__(
        self, folder: Path, board_id: str, toolchain: Toolchain, *, there: int, sizes: int, on: int
    ) -> None:
        board = load_board(board_id)
        files = {**support_files(), **board_files(board), "src/main.c": FLUSH}
        super().__init__(build_firmware(files, board, folder, toolchain), board)
        for address, value in ((CLIDR, there), (CCSIDR, sizes), (CCR, on)):
            self.write(address, value.to_bytes(4, "little"))
        self.written: list[tuple[int, int]] = []

        def keep(_: Any, __: int, address: int, ___: int, value: int, ____: Any) -> None:
            self.written.append((address, value & 0xFFFF_FFFF))

        self._uc.hook_add(UC_HOOK_MEM_WRITE, keep, begin=0xE000_E000, end=0xE000_EFFF)
        self.start()

    def values(self, register: int) -> list[int]:
        return [value for address, value in self.written if address == register]


@pytest.mark.parametrize("sets", SIZES)
@pytest.mark.parametrize("toolchain", TOOLCHAINS)
def test_caches_are_emptied_before_they_are_switched_on(
    sets: int, toolchain: Toolchain, tmp_path: Path
) -> None:
    core = Silicon(tmp_path, "nucleo_h743zi", toolchain, there=BOTH, sizes=SIZES[sets], on=0)
    lines = core.values(DCISW)
    assert sorted(lines) == [way << 30 | number << 5 for way in range(4) for number in range(sets)]
    order = [address for address, _ in core.written]
    instructions, data = (
        core.written.index(step) for step in ((CCR, INSTRUCTIONS), (CCR, INSTRUCTIONS | DATA))
    )
    assert order.index(ICIALLU) < instructions
    assert order.index(CSSELR) < order.index(DCISW)
    assert len(order) - 1 - order[::-1].index(DCISW) < data
    assert core.values(CSSELR) == [0]


@pytest.mark.parametrize(
    ("there", "on", "enabled"),
    [(0, 0, []), (1, 0, [INSTRUCTIONS]), (2, 0, [DATA]), (BOTH, INSTRUCTIONS | DATA, [])],
)
def test_only_caches_that_are_there_and_off_are_touched(
    there: int, on: int, enabled: list[int], tmp_path: Path
) -> None:
    core = Silicon(tmp_path, "disco_f746ng", gcc() or zig(), there=there, sizes=SIZES[32], on=on)
    assert core.values(CCR) == enabled
    assert bool(core.values(ICIALLU)) == (INSTRUCTIONS in enabled)
    assert bool(core.values(DCISW)) == (DATA in enabled)


def test_every_line_that_holds_a_byte_is_flushed(tmp_path: Path) -> None:
    core = Silicon(tmp_path, "nucleo_f767zi", gcc() or zig(), there=BOTH, sizes=SIZES[128], on=0)
    lines = core.values(DCCIMVAC)
    first = lines[0]
    assert first % 32 == 0
    assert lines == [first, first + 32, first + 64]


def test_other_cores_have_no_such_registers(tmp_path: Path) -> None:
    core = Silicon(tmp_path, "nucleo_f446re", gcc() or zig(), there=BOTH, sizes=SIZES[128], on=0)
    assert {address for address, _ in core.written} == {0xE000_ED88}


def test_a_locked_cycle_counter_is_unlocked_before_it_is_started() -> None:
    setup = console_of(load_board("nucleo_f746zg")).ticks.setup
    addresses = [address for address, _, _ in setup]
    assert addresses.index(0xE000_1FB0) < addresses.index(0xE000_1000)
    assert (0xE000_1FB0, 0xFFFF_FFFF, 0xC5AC_CE55) in setup
