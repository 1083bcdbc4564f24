"""What to say when a network does not fit a board: the plans that would, and what they cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from toolchain.errors import FitError

if TYPE_CHECKING:
    from boards import Board
    from toolchain.ir import Graph
    from toolchain.plan import Plan
    from toolchain.plan.fit import Fit


@dataclass(frozen=True)
class _Way:
    """A plan that needs less: the options that ask for it."""

    options: str
    plan: Plan

    def __str__(self) -> str:
        """Return a hint."""
        cost = f", {self.plan.mac_factor:.3f} times the work" if self.plan.recomputed_macs else ""
        return f"{self.options}  (arena {self.plan.arena_bytes} bytes{cost})"


def require_fit(graph: Graph, fit: Fit, plan: Plan, board: Board) -> None:
    """Go on only if the network fits.

    Raises:
        FitError: E301 with bytes over per region, the peak's terms, options that make it fit,
            boards that it fits, and the least that is possible if it fits in no way.
    """
    try:
        fit.require()
    except FitError as error:
        fitting, least = ways_to_fit(graph, fit, plan, board)
        what, numbers = error.what, dict(error.numbers)
        if least is not None and not fitting:
            what += f"; no plan does: the least arena is {least.arena_bytes} bytes"
            what += f", with {least.mac_factor:.3f} times the work"
            numbers |= {"least_ram_bytes": least.arena_bytes, "mac_factor": least.mac_factor}
        hints = [*fitting, *error.hints]
        raise FitError(error.code, what, where=error.where, numbers=numbers, hints=hints) from None


def ways_to_fit(graph: Graph, fit: Fit, plan: Plan, board: Board) -> tuple[list[str], Plan | None]:
    """Return options with which the network fits, and the leanest of all plans.

    Nothing if other memory than RAM is missing.
    """
    short = {usage.region.kind for usage in fit.usages if usage.over}
    if short != {"ram"}:
        return [], None
    ways = list(_leaner(graph, board, fed=bool(plan.feed or plan.pull)))
    fitting = [str(way) for way in ways if _fits(graph, way.plan, fit)]
    return fitting, min((way.plan for way in ways), key=lambda p: p.arena_bytes)


def _fits(graph: Graph, plan: Plan, fit: Fit) -> bool:
    """Tell whether ``plan`` would fit beside the same static data."""
    from toolchain.cli.pipeline import footprint

    return replace(footprint(graph, plan, fit.board), data_bytes=fit.data_bytes).fits


def _leaner(graph: Graph, board: Board, *, fed: bool) -> Iterator[_Way]:
    """Yield plans for the board's RAM, or the least ones, those of least work first."""
    from toolchain.plan import plan_model
    from toolchain.plan.banks import banks_of

    room = sum(bank.size for bank in banks_of(board))
    if not fed:
        handed = plan_model(graph, board, fed=True)
        if handed.feed:
            yield _Way("--fed", handed)
    for options, hand in (("", fed), ("--fed ", True)) if not fed else (("--fed ", True),):
        limit = room
        try:
            plan = plan_model(graph, board, max_ram=limit, fed=hand)
        except FitError as error:
            limit = int(error.numbers["least_ram_bytes"])
            plan = plan_model(graph, board, max_ram=limit, fed=hand)
        if not hand or plan.feed or plan.pull:
            yield _Way(f"{options}--max-ram {limit}", plan)
