"""Tables and sizes as people read them on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from toolchain.cli.report import Reporter

_PIPE_WIDTH = 240


def print_table(
    reporter: Reporter, columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = ""
) -> None:
    """Print a table; a column whose name starts with ``>`` is set to the right."""
    if reporter.json:
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, title=title or None, title_justify="left")
    for column in columns:
        right = column.startswith(">")
        table.add_column(column.lstrip(">"), justify="right" if right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    # A pipe has no width: keep every row on its line.
    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    Console(highlight=False, width=width).print(table)


def kib(size: int) -> str:
    """Return bytes as KiB with one decimal."""
    return f"{size / 1024:,.1f} KiB"


def millions(count: int) -> str:
    """Return a count in millions, or in thousands where that reads better."""
    return f"{count / 1e6:,.2f} M" if count >= 1e6 else f"{count / 1e3:,.1f} k"
