"""``plan_model`` and ``pareto``: the planner's front door."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from boards import Board
from toolchain.errors import FitError
from toolchain.ir.graph import Graph
from toolchain.kernels import Isa
from toolchain.plan.banks import place
from toolchain.plan.plan import Plan
from toolchain.plan.search import Search


def plan_model(
    graph: Graph,
    board: Board | None = None,
    *,
    max_ram: int | None = None,
    max_macs: float | None = None,
    fed: bool = False,
) -> Plan:
    """Return the best plan of ``graph``, never one with more memory than its layer plan.

    Args:
        graph: a verified graph.
        board: whose kernels and banks to use; ``None`` for portable ones in one arena.
        max_ram: with it, the plan of least work whose arena has at most so many bytes; without
            it, the plan of least memory that gives next to no node a slower kernel.
        max_macs: greatest factor of multiply-accumulates over the plain network. Without it, and
            without ``max_ram``, nothing is computed twice; with 1, slower kernels are allowed.
        fed: let the caller hand over the input row by row, if the network can take it so
            (`Plan.feed`), and in plans that compute things twice part by part, some parts several
            times (`Plan.pull`).

    Raises:
        FitError: E304 with the least that is possible, and what it costs, if ``max_ram`` or
            ``max_macs`` is less.
    """
    if max_macs is not None and max_macs < 1:
        raise FitError("E304", f"no plan has {max_macs} times the work", hints=["--max-macs 1x"])
    search = Search(graph, _isa(board), fed=fed)
    most_macs = None if max_macs is None else int(graph.macs * max_macs)
    if max_ram is None:
        least = _least(search, most_macs)
        return _placed(graph, least, board, None) or next(_least(search, most_macs))
    fitting = [
        plan for plan in _lightest(search, max_ram) if most_macs is None or plan.macs <= most_macs
    ]
    if not fitting:
        raise _impossible(search, max_ram, most_macs)
    return _placed(graph, fitting, board, max_ram) or fitting[0]


def pareto(graph: Graph, board: Board | None = None, *, fed: bool = False) -> tuple[Plan, ...]:
    """Return the plans of which none has both less memory and less work than another.

    Args:
        graph: a verified graph.
        board: whose kernels to use; ``None`` for portable ones.
        fed: see `plan_model`.

    Returns:
        Plans from the least memory to the least work, which is that of plain layers (of the fewest
        streamed ones with ``fed``).
    """
    search = Search(graph, _isa(board), fed=fed)
    once = search.once()
    plans = reversed([*once, *search.again(once[-1].arena_bytes)])
    return tuple(_placed(graph, [plan], board, None) or plan for plan in plans)


def _isa(board: Board | None) -> Isa:
    return Isa.PORTABLE if board is None else Isa[board.isa.upper()]


def _placed(
    graph: Graph, plans: Iterable[Plan], board: Board | None, most_bytes: int | None
) -> Plan | None:
    """Return the first plan that the banks of ``board`` can hold."""
    for plan in plans:
        placed = plan if board is None else place(graph, plan, board, most_bytes)
        if placed is not None:
            return placed
    return None


def _least(search: Search, most_macs: int | None) -> Iterator[Plan]:
    """Yield plans of least memory first, those that give much work to slower kernels last."""
    if most_macs is not None:
        yield _leanest(search, most_macs)
    quick = search.quick()
    yield from reversed(quick)
    yield from (plan for plan in reversed(search.once()) if plan not in quick)


def _lightest(search: Search, most_bytes: int) -> Iterator[Plan]:
    """Yield plans within so many bytes, those of least work first."""
    fitting = [plan for plan in search.once() if plan.arena_bytes <= most_bytes]
    yield from fitting
    if not fitting and (plan := search.lightest(most_bytes)) is not None:
        yield plan


def _leanest(search: Search, most_macs: int) -> Plan:
    """Return the plan of least memory within a number of multiply-accumulates."""
    once, again = search.once()[-1], search.leanest(most_macs)
    return once if again is None or once.arena_bytes <= again.arena_bytes else again


def _impossible(search: Search, max_ram: int, most_macs: int | None) -> FitError:
    """Say what the least memory is within ``most_macs``, and what it costs."""
    plan = _leanest(search, 1 << 62 if most_macs is None else most_macs)
    least, cost = plan.arena_bytes, plan.mac_factor
    within = "" if most_macs is None else f" within {most_macs} multiply-accumulates"
    return FitError(
        "E304",
        f"no plan of {search.graph.name} needs at most {max_ram} bytes of RAM{within}: "
        f"the least is {least}, with {cost:.3f} times the work",
        numbers={"max_ram_bytes": max_ram, "least_ram_bytes": least, "mac_factor": cost},
        hints=[f"--max-ram {least}"],
    )
