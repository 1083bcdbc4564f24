"""Tables and sizes as people read them on a terminal."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from toolchain.cli.report import Reporter

if TYPE_CHECKING:
    from rich.console import JustifyMethod

_PIPE_WIDTH = 240
_WIDEST = 24


def print_table(
    reporter: Reporter, columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = ""
) -> None:
    """Print a table; a column whose name starts with ``>`` is set to the right."""
    if reporter.json:
        return
    cells = [[str(cell) for cell in row] for row in rows]
    if importlib.util.find_spec("rich") is None:
        for line in ([title] if title else []) + [*_plain_lines(columns, cells)]:
            reporter.say(line)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, title=title or None, title_justify="left")
    for number, column in enumerate(columns):
        name = column.lstrip(">")
        # Where a line is too narrow the last column gives way: names, not figures.
        widest = max([len(name), *(len(row[number]) for row in cells)])
        least = None if number == len(columns) - 1 else min(widest, _WIDEST)
        justify: JustifyMethod = "right" if column.startswith(">") else "left"
        table.add_column(name, justify=justify, no_wrap=True, min_width=least)
    for row in cells:
        table.add_row(*map(Text, row))
    # A pipe has no width: keep every row on its line.
    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    Console(highlight=False, width=width).print(table)


def _plain_lines(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> Iterator[str]:
    """Set a table without rich, which a worker's installation does not have."""
    names = [column.lstrip(">") for column in columns]
    widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
    for row in (names, *cells):
        padded = [
            cell.rjust(width) if column.startswith(">") else cell.ljust(width)
            for column, cell, width in zip(columns, row, widths, strict=True)
        ]
        yield "  ".join(padded).rstrip()


def kib(size: int) -> str:
    """Return bytes as KiB with one decimal."""
    return f"{size / 1024:,.1f} KiB"


def millions(count: int) -> str:
    """Return a count in millions, or in thousands where that reads better."""
    return f"{count / 1e6:,.2f} M" if count >= 1e6 else f"{count / 1e3:,.1f} k"
