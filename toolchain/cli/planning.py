"""Options that ask the planner: how much memory, how much work."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from toolchain.cli.sizes import Size
from toolchain.errors import UsageError

if TYPE_CHECKING:
    from boards import Board
    from toolchain.ir import Graph
    from toolchain.plan import Plan

_FACTOR = re.compile(r"(\d+(?:\.\d+)?)x?", re.IGNORECASE)


@dataclass(frozen=True)
class Wish:
    """What the user asks of a plan.

    Attributes:
        max_ram: greatest arena in bytes: least work within it.
        max_macs: greatest factor of work: least memory within it.
    """

    max_ram: int | None = None
    max_macs: float | None = None

    def plan(self, graph: Graph, board: Board | None) -> Plan:
        """Return the plan that was asked for, checked; the least memory without a wish."""
        from toolchain.plan import check_plan, plan_model

        plan = plan_model(graph, board, max_ram=self.max_ram, max_macs=self.max_macs)
        return check_plan(graph, plan)


NO_WISH = Wish()


def planning_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb ``--max-ram`` and ``--max-macs``."""
    for option in (
        click.option("--max-macs", metavar="FACTOR", help="Least memory within, e.g. 1.1x, MACs."),
        click.option("--max-ram", type=Size(), help="Least work within an arena of, e.g. 32K."),
    ):
        function = option(function)
    return function


def wish(max_ram: int | None, max_macs: str | None) -> Wish:
    """Return the options' values, parsed.

    Raises:
        UsageError: E123 if ``max_macs`` is not a factor.
    """
    return Wish(max_ram, None if max_macs is None else parse_factor(max_macs))


def parse_factor(text: str) -> float:
    """Return a factor such as ``"1.1x"`` or ``"1.1"``."""
    match = _FACTOR.fullmatch(text.strip())
    if match is None:
        raise UsageError("E123", f'"{text}" is not a factor', hints=["--max-macs 1.1x"])
    return float(match[1])


def read_plan_file(path: Path, graph: Graph) -> Plan:
    """Return the plan in ``path``, checked against ``graph``.

    Raises:
        FitError, UsageError: if it cannot be read, or is wrong for the graph: with the byte range
            and the two tensors concerned.
    """
    from toolchain.plan import check_plan, read_plan

    return check_plan(graph, read_plan(path))
