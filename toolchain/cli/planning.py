"""Options that ask the planner: how much memory, how much work."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from toolchain.cli.sizes import Size
from toolchain.errors import FitError, UsageError

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
        fed: hand over the input row by row.
    """

    max_ram: int | None = None
    max_macs: float | None = None
    fed: bool = False

    def plan(self, graph: Graph, board: Board | None) -> Plan:
        """Return the plan that was asked for, checked; the least memory without a wish.

        Raises:
            FitError: E304 with the least that is possible, E306 if the input cannot be fed.
        """
        from toolchain.plan import check_plan, plan_model

        ram, work = self.max_ram, self.max_macs
        plan = plan_model(graph, board, max_ram=ram, max_macs=work, fed=self.fed)
        check_plan(graph, plan, board)
        if self.fed and not (plan.feed or plan.pull):
            first = graph.nodes[0].op.name if graph.nodes else "nothing"
            raise FitError(
                "E306",
                f"the input of {graph.name} cannot be taken row by row: it needs one input, an "
                f"image whose first operator works on rows, not {first}",
                hints=["leave out --fed"],
            )
        return plan


NO_WISH = Wish()


def planning_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb ``--max-ram``, ``--max-macs`` and ``--fed``."""
    for option in (
        click.option(
            "--fed",
            is_flag=True,
            help="Hand over the input row by row, as a camera does (with --max-macs above 1x part "
            "by part, some of it again): it is never whole in RAM.",
        ),
        click.option("--max-macs", metavar="FACTOR", help="Least memory within, e.g. 1.1x, MACs."),
        click.option("--max-ram", type=Size(), help="Least work within an arena of, e.g. 32K."),
    ):
        function = option(function)
    return function


def wish(max_ram: int | None, max_macs: str | None, *, fed: bool) -> Wish:
    """Return the options' values, parsed.

    Raises:
        UsageError: E123 if ``max_macs`` is not a factor.
    """
    return Wish(max_ram, None if max_macs is None else parse_factor(max_macs), fed)


def parse_factor(text: str) -> float:
    """Return a factor such as ``"1.1x"`` or ``"1.1"``."""
    match = _FACTOR.fullmatch(text.strip())
    if match is None:
        raise UsageError("E123", f'"{text}" is not a factor', hints=["--max-macs 1.1x"])
    return float(match[1])


@dataclass(frozen=True)
class Inputs:
    """The least arena of both ways to hand over the input, as one chosen plan compares with them.

    Attributes:
        resident: plan with the whole input in RAM.
        fed: plan with the input row by row, ``None`` where the network cannot take it so.
    """

    resident: Plan
    fed: Plan | None

    def __str__(self) -> str:
        """Return a sentence with both figures."""
        fed = "cannot be fed row by row"
        if self.fed is not None:
            fed = f"{self.fed.arena_bytes:,} fed row by row (--fed)"
        return f"arena with the input resident {self.resident.arena_bytes:,} bytes, {fed}"

    def facts(self) -> dict[str, Any]:
        """Return the figures for ``--json``."""
        return {
            "resident_arena_bytes": self.resident.arena_bytes,
            "fed_arena_bytes": self.fed.arena_bytes if self.fed else None,
        }


def both_inputs(graph: Graph, plan: Plan, board: Board | None) -> Inputs:
    """Return ``plan`` and the plan of least memory with the input handed over the other way."""
    from toolchain.plan import plan_model

    handed_over = bool(plan.feed or plan.pull)
    other = plan_model(graph, board, fed=not handed_over)
    if handed_over:
        return Inputs(other, plan)
    return Inputs(plan, other if other.feed else None)


def read_plan_file(path: Path, graph: Graph, board: Board) -> Plan:
    """Return the plan in ``path``, checked against ``graph`` and the regions of ``board``.

    Raises:
        FitError, UsageError: if it cannot be read, or is wrong for the graph: with the byte range
            and the two tensors concerned.
    """
    from toolchain.plan import check_plan, read_plan

    return check_plan(graph, read_plan(path), board)
