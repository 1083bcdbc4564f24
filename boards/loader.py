"""Read boards from TOML: every key is known, typed and required, or the file is refused."""

from __future__ import annotations

import difflib
import itertools
import tomllib
from dataclasses import replace
from functools import cache
from importlib import resources
from pathlib import Path

from boards.board import (
    CORES,
    FEATURES,
    KINDS,
    SPEEDS,
    Board,
    Emulation,
    FlashAccess,
    Flashing,
    Linux,
    PlatformIO,
    Region,
)
from boards.table import Table
from toolchain.errors import UsageError

_FLASH_WORDS = (4, 8, 16, 32)
_MOST_CACHED = 1 << 12


def board_ids() -> tuple[str, ...]:
    """Return the ids of all known boards, sorted."""
    files = resources.files("boards").iterdir()
    return tuple(sorted(f.name.removesuffix(".toml") for f in files if f.name.endswith(".toml")))


@cache
def all_boards() -> tuple[Board, ...]:
    """Return all known boards, sorted by id."""
    return tuple(load_board(name) for name in board_ids())


def load_board(name: str) -> Board:
    """Return a board by id, or from a TOML file of the user's own.

    Args:
        name: an id of `board_ids`, or a path that ends in ``.toml``.

    Raises:
        UsageError: E104 if there is no such board, E102 for a key that is not known, E103 for a
            key that is missing or wrong.
    """
    if name.endswith(".toml"):
        path = Path(name)
        try:
            text = path.read_text(encoding="utf-8")
            return replace(parse_board(path.stem, text, name), definition=text)
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError("E104", f"cannot read the board file: {error}", where=name) from None
    if name not in board_ids():
        near = difflib.get_close_matches(name.lower().replace("-", "_"), board_ids(), n=3)
        hints = [f"--board {other}" for other in near] or ["tessera boards"]
        raise UsageError("E104", f'no such board: "{name}"', hints=hints)
    file = resources.files("boards") / f"{name}.toml"
    return parse_board(name, file.read_text(encoding="utf-8"), f"boards/{name}.toml")


def parse_board(name: str, text: str, where: str) -> Board:
    """Return the board that TOML ``text`` describes; ``where`` names the file in errors."""
    try:
        table = Table(tomllib.loads(text), where, "")
    except tomllib.TOMLDecodeError as error:
        raise UsageError("E103", f"not legal TOML: {error}", where=where) from None
    table.allow(
        "name mcu core features mhz regions flash_access platformio flashing emulation linux"
    )
    board = Board(
        id=name,
        name=table.text("name"),
        mcu=table.text("mcu"),
        core=table.choice("core", CORES),
        features=table.choices("features", FEATURES),
        mhz=table.integer("mhz"),
        regions=tuple(_region(t) for t in table.tables("regions")),
        platformio=_platformio(table),
        flashing=_flashing(table),
        emulation=_emulation(table),
        linux=_linux(table),
        flash_access=_flash_access(table),
    )
    return _checked(board, where)


def _region(table: Table) -> Region:
    table.allow("name kind start size speed source enable")
    return Region(
        table.text("name"),
        table.choice("kind", KINDS),
        table.integer("start"),
        table.size("size"),
        table.choice("speed", SPEEDS),
        table.text("source"),
        table.pairs("enable"),
    )


def _flash_access(parent: Table) -> FlashAccess | None:
    keys = "wait_states word code_words data_words prefetch source"
    table = parent.optional("flash_access", keys)
    if table is None:
        return None
    if table.integer("word") not in _FLASH_WORDS:
        raise table.fail("word", f"one of {_FLASH_WORDS} bytes")
    for key in ("code_words", "data_words"):
        if table.integer(key) > _MOST_CACHED:
            raise table.fail(key, f"at most {_MOST_CACHED}")
    return FlashAccess(
        table.integer("wait_states"),
        table.integer("word"),
        table.integer("code_words"),
        table.integer("data_words"),
        table.flag("prefetch"),
        table.text("source"),
    )


def _platformio(parent: Table) -> PlatformIO | None:
    table = parent.optional("platformio", "platform board")
    return PlatformIO(table.text("platform"), table.text("board")) if table else None


def _flashing(parent: Table) -> Flashing | None:
    table = parent.optional("flashing", "protocol openocd pyocd")
    if table is None:
        return None
    return Flashing(table.text("protocol"), table.text("openocd", ""), table.text("pyocd", ""))


def _emulation(parent: Table) -> Emulation:
    table = parent.optional("emulation", "unicorn qemu stand_in")
    if table is None:
        return Emulation()
    return Emulation(table.text("unicorn", ""), table.text("qemu", ""), table.text("stand_in", ""))


def _linux(parent: Table) -> Linux | None:
    table = parent.optional("linux", "target cpu")
    return Linux(table.text("target"), table.text("cpu", "")) if table else None


def _checked(board: Board, where: str) -> Board:
    if {region.kind for region in board.regions} != set(KINDS):
        raise UsageError("E103", "a board needs flash and RAM", where=where)
    ordered = sorted(board.regions, key=lambda r: r.start)
    if list(board.regions) != ordered:
        raise UsageError("E103", "regions must be in order of address", where=where)
    for a, b in itertools.pairwise(ordered):
        if a.end > b.start:
            raise UsageError("E103", f"regions {a.name} and {b.name} overlap", where=where)
    return board
