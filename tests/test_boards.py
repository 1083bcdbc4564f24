from pathlib import Path

import pytest

from boards import all_boards, board_ids, load_board
from boards.loader import parse_board
from toolchain.errors import UsageError

TEXT = """
name = "A board"
mcu = "X"
core = "cortex-m4"
features = ["dsp"]
mhz = 100
[[regions]]
name = "FLASH"
kind = "flash"
start = 0
size = "1M"
speed = "flash"
source = "here"
[[regions]]
name = "DTCM"
kind = "ram"
start = 0x2000_0000
size = "64K"
speed = "tcm"
source = "here"
[[regions]]
name = "SRAM"
kind = "ram"
start = 0x2001_0000
size = "64K"
speed = "sram"
source = "here"
[[regions]]
name = "PSRAM"
kind = "ram"
start = 0x2002_0000
size = "8M"
speed = "external"
source = "here"
[flash_access]
wait_states = 3
word = 16
code_words = 64
data_words = 8
prefetch = true
source = "here"
"""


@pytest.mark.parametrize("board", all_boards(), ids=lambda board: board.id)
def test_every_board_is_whole(board):
    assert board.flash.size > 0
    assert all(region.source for region in board.regions)
    assert board.emulation.stand_in in ("", *board_ids())
    extended = bool(board.features)
    assert extended == (
        board.core in {"cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55", "xtensa-lx7"}
    )


@pytest.mark.parametrize(
    ("name", "isa", "ram", "flash"),
    [
        ("nucleo_f746zg", "dsp", 320, 1024),
        ("nucleo_h743zi", "dsp", 512, 2048),
        ("generic_stm32f405rg", "dsp", 128, 1024),
        ("nucleo_l4r5zi", "dsp", 640, 2048),
        ("bluepill_f103c8", "portable", 20, 64),
        ("pico", "armv6m", 264, 2048),
        ("qemu_an547", "mve", 4096, 512),
    ],
)
def test_figures_of_known_boards(name, isa, ram, flash):
    board = load_board(name)
    assert (board.isa, board.ram.size // 1024, board.flash.size // 1024) == (isa, ram, flash)


def test_contiguous_regions_join_but_off_chip_memory_stays_apart():
    board = parse_board("x", TEXT, "x.toml")
    assert [(b.name, b.size // 1024) for b in board.ram_blocks] == [
        ("DTCM+SRAM", 128),
        ("PSRAM", 8192),
    ]


@pytest.mark.parametrize(
    ("old", "new", "code", "said"),
    [
        ("mhz =", "mzh =", "E102", "Did you mean mhz?"),
        ('speed = "tcm"', 'sped = "tcm"', "E102", "Did you mean regions[1].speed?"),
        ("mhz = 100\n", "", "E103", "mhz must be"),
        ("cortex-m4", "cortex-m99", "E103", "core must be one of"),
        ('["dsp"]', '["dps"]', "E103", "features must be a list of"),
        ('"64K"', '"64Q"', "E103", "size must be"),
        ("0x2001_0000", "0x2000_8000", "E103", "DTCM and SRAM overlap"),
        ("0x2001_0000", "0x1001_0000", "E103", "in order of address"),
        ('kind = "flash"', 'kind = "ram"', "E103", "flash and RAM"),
        ("name", "[", "E103", "not legal TOML"),
        ("word = 16", "word = 12", "E103", "flash_access.word must be"),
        ("code_words = 64", "code_words = 9999", "E103", "flash_access.code_words must be"),
        ("prefetch = true", 'prefetch = "yes"', "E103", "flash_access.prefetch must be"),
    ],
)
def test_a_wrong_file_is_refused(old, new, code, said):
    assert old in TEXT
    with pytest.raises(UsageError) as caught:
        parse_board("x", TEXT.replace(old, new), "x.toml")
    assert caught.value.code == code
    assert said in caught.value.what
    assert caught.value.where == "x.toml"


def test_unknown_board_suggests_the_nearest():
    with pytest.raises(UsageError) as caught:
        load_board("nucleo_f746")
    assert caught.value.code == "E104"
    assert "--board nucleo_f746zg" in caught.value.hints


def test_a_file_of_the_users_own(tmp_path: Path):
    path = tmp_path / "mine.toml"
    path.write_text(TEXT)
    assert load_board(str(path)).id == "mine"
    with pytest.raises(UsageError, match="cannot read"):
        load_board(str(tmp_path / "other.toml"))
