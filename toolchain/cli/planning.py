"""Options that ask the planner: how much memory, how much work."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from toolchain.cli.report import Reporter
from toolchain.cli.sizes import Size
from toolchain.errors import FitError, UsageError

if TYPE_CHECKING:
    from boards import Board
    from toolchain.ir import Graph
    from toolchain.plan import Plan
    from toolchain.plan.effort import Watch

_FACTOR = re.compile(r"(\d+(?:\.\d+)?)x?", re.IGNORECASE)


@dataclass(frozen=True)
class Wish:
    """What the user asks of a plan.

    Attributes:
        max_ram: greatest arena in bytes: least work within it.
        max_macs: greatest factor of work: least memory within it.
        fed: hand over the input row by row.
        effort: level of effort, or seconds.
    """

    max_ram: int | None = None
    max_macs: float | None = None
    fed: bool = False
    effort: str = "normal"

    def plan(self, graph: Graph, board: Board | None, reporter: Reporter) -> Plan:
        """Return the plan that was asked for: see `choose`."""
        return self.choose(graph, board, reporter)[0]

    def choose(
        self, graph: Graph, board: Board | None, reporter: Reporter
    ) -> tuple[Plan, list[Plan]]:
        """Return the plan that was asked for, checked; the least memory without a wish.

        Ctrl-C ends the search with the best plan found so far. The others that the search has
        found on its way and that are worth choosing come with it, from the least memory on.

        Raises:
            FitError: E304 with the least that is possible, E306 if the input cannot be fed.
        """
        from toolchain.plan import check_plan, plan_model, worth_choosing

        ram, work = self.max_ram, self.max_macs
        with watching(reporter, self.effort) as watch:
            plan = plan_model(graph, board, max_ram=ram, max_macs=work, fed=self.fed, watch=watch)
        check_plan(graph, plan, board)
        if self.fed and not (plan.feed or plan.pull):
            first = graph.nodes[0].op.name if graph.nodes else "nothing"
            raise FitError(
                "E306",
                f"the input of {graph.name} cannot be taken row by row: it needs one input, an "
                f"image whose first operator works on rows, not {first}",
                hints=["leave out --fed"],
            )
        found = (p for p in watch.plans if not self.fed or p.feed or p.pull)
        return plan, worth_choosing(found, graph.macs)


NO_WISH = Wish()


@contextmanager
def watching(reporter: Reporter, effort: str) -> Iterator[Watch]:
    """Follow a search on the terminal; say at its end if it did not come to it.

    Raises:
        UsageError: E123 if ``effort`` is neither a level nor seconds.
    """
    from toolchain.plan.effort import LEVELS, watch_for

    try:
        watch = watch_for(effort)
    except ValueError:
        levels = ", ".join(LEVELS)
        what = f'"{effort}" is no effort: {levels} or seconds such as 20s'
        raise UsageError("E123", what, hints=["--effort high"]) from None
    with reporter.status("planning") as show:
        watch.tell = lambda plan: show(
            f"planning: {len(watch.plans)} plans, the last with {plan.arena_bytes:,} bytes "
            "(Ctrl-C takes the best so far)"
        )
        yield watch
    if watch.ended:
        reporter.warn(f"the search was ended by {watch.ended}: the best plan found so far")


def planning_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb ``--max-ram``, ``--max-macs``, ``--effort`` and ``--fed``."""
    for option in (
        click.option(
            "--fed",
            is_flag=True,
            help="Hand over the input row by row, as a camera does (with --max-macs above 1x part "
            "by part, some of it again): it is never whole in RAM.",
        ),
        click.option(
            "--effort",
            metavar="LEVEL",
            default="normal",
            show_default=True,
            help="How far to search: fast, normal, high or so many seconds, e.g. 20s.",
        ),
        click.option("--max-macs", metavar="FACTOR", help="Least memory within, e.g. 1.1x, MACs."),
        click.option("--max-ram", type=Size(), help="Least work within an arena of, e.g. 32K."),
    ):
        function = option(function)
    return function


def wish(max_ram: int | None, max_macs: str | None, *, fed: bool, effort: str = "normal") -> Wish:
    """Return the options' values, parsed.

    Raises:
        UsageError: E123 if ``max_macs`` is not a factor.
    """
    return Wish(max_ram, None if max_macs is None else parse_factor(max_macs), fed, effort)


def parse_factor(text: str) -> float:
    """Return a factor such as ``"1.1x"`` or ``"1.1"``."""
    match = _FACTOR.fullmatch(text.strip())
    if match is None:
        raise UsageError("E123", f'"{text}" is not a factor', hints=["--max-macs 1.1x"])
    return float(match[1])


@dataclass(frozen=True)
class Inputs:
    """The least arena of all ways to hand over the input, as one chosen plan compares with them.

    Attributes:
        resident: plan with the whole input in RAM.
        fed: plan with the input row by row, ``None`` where the network cannot take it so.
        columns: plan with the input column by column, if that needs less memory.
    """

    resident: Plan
    fed: Plan | None
    columns: Plan | None = None

    def __str__(self) -> str:
        """Return a sentence with all figures."""
        fed = "cannot be fed row by row"
        if self.fed is not None:
            fed = f"{self.fed.arena_bytes:,} fed row by row (--fed)"
        if self.columns is not None:
            fed += f", {self.columns.arena_bytes:,} column by column (--fed --columns)"
        return f"arena with the input resident {self.resident.arena_bytes:,} bytes, {fed}"

    def facts(self) -> dict[str, Any]:
        """Return the figures for ``--json``."""
        return {
            "resident_arena_bytes": self.resident.arena_bytes,
            "fed_arena_bytes": self.fed.arena_bytes if self.fed else None,
            "fed_columns_arena_bytes": self.columns.arena_bytes if self.columns else None,
        }


def both_inputs(graph: Graph, plan: Plan, board: Board | None, effort: str = "normal") -> Inputs:
    """Return ``plan`` and plans of least memory with the input handed over in other ways."""
    from toolchain.plan import plan_model
    from toolchain.plan.effort import LEVELS, watch_for

    handed_over = bool(plan.feed or plan.pull)
    level = effort if effort in LEVELS else "fast"
    other = plan_model(graph, board, fed=not handed_over, watch=watch_for(level))
    resident, fed = (other, plan) if handed_over else (plan, other if other.feed else None)
    columns = _by_columns(graph, board)
    rivals = [one.arena_bytes for one in (resident, fed) if one]
    better = columns is not None and columns.arena_bytes < min(rivals)
    return Inputs(resident, fed, columns if better else None)


def _by_columns(graph: Graph, board: Board | None) -> Plan | None:
    """Return the plan of an input that is wider than high, handed over column by column."""
    from toolchain.passes import simplify, turned_inputs
    from toolchain.plan import plan_model
    from toolchain.plan.effort import watch_for

    shapes = [tensor.shape for tensor in graph.input_tensors]
    if not any(len(shape) == 4 and shape[2] > shape[1] > 1 for shape in shapes):
        return None
    turned = simplify(turned_inputs(graph))
    plan = plan_model(turned, board, fed=True, watch=watch_for("fast"))
    return plan if plan.feed else None


def read_plan_file(path: Path, graph: Graph, board: Board | None) -> Plan:
    """Return the plan in ``path``, checked against ``graph`` and the regions of ``board``, if any.

    Raises:
        FitError, UsageError: if it cannot be read, or is wrong for the graph: with the byte range
            and the two tensors concerned.
    """
    from toolchain.plan import check_plan, read_plan

    return check_plan(graph, read_plan(path), board)
