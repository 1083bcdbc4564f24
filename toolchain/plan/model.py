"""``plan_model`` and ``pareto``: the planner's front door."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from boards import Board
from toolchain.errors import FitError
from toolchain.ir.graph import Graph
from toolchain.kernels import Isa
from toolchain.plan.banks import banks_of, place
from toolchain.plan.check import check_plan
from toolchain.plan.effort import OutOfTimeError, Watch
from toolchain.plan.plan import Plan
from toolchain.plan.search import Search
from toolchain.plan.staging import with_staged_weights

_ANY = 1 << 62


@dataclass(frozen=True)
class _Goal:
    """What a plan must keep to: bytes, multiply-accumulates, ``None`` for no limit."""

    max_ram: int | None
    most_macs: int | None

    @property
    def recompute(self) -> bool:
        return self.max_ram is not None or self.most_macs is not None

    def met(self, plan: Plan) -> bool:
        if not self.recompute:
            return not plan.recomputed_macs
        few = self.most_macs is None or plan.macs <= self.most_macs
        return few and (self.max_ram is None or plan.arena_bytes <= self.max_ram)

    def rank(self, plan: Plan) -> tuple[int, int]:
        """Return a key that is least for the best plan."""
        if self.max_ram is None:
            return plan.arena_bytes, plan.instructions
        return plan.instructions, plan.arena_bytes


def plan_model(
    graph: Graph,
    board: Board | None = None,
    *,
    max_ram: int | None = None,
    max_macs: float | None = None,
    fed: bool = False,
    watch: Watch | None = None,
) -> Plan:
    """Return the best plan of ``graph``, never one with more memory than its layer plan.

    Args:
        graph: a verified graph.
        board: whose kernels and banks to use; ``None`` for portable ones in one arena.
        max_ram: with it, the plan of least work whose arena has at most so many bytes; without
            it, the plan of least memory that takes few instructions more than plain layers, or
            that saves a share of memory no smaller than that by which the work grows.
        max_macs: greatest factor of multiply-accumulates over the plain network. Without it, and
            without ``max_ram``, nothing is computed twice; with 1, slower plans are allowed.
        fed: let the caller hand over the input row by row, if the network can take it so
            (`Plan.feed`), and in plans that compute things twice part by part, some parts several
            times (`Plan.pull`).
        watch: how far to search, normally by default. With one, a search that it or Ctrl-C ends
            early returns the best plan found so far.

    Raises:
        FitError: E304 with the least that is possible, and what it costs, if ``max_ram`` or
            ``max_macs`` is less; E307 if its time was over before a search had found anything.
        KeyboardInterrupt: for Ctrl-C before it has, or without a watch.
    """
    if max_macs is not None and not max_macs >= 1:
        least = "the least is 1, where nothing is computed twice"
        hints = ["--max-macs 1x"]
        raise FitError("E304", f"no plan has {max_macs:g} times the work: {least}", hints=hints)
    goal = _Goal(max_ram, None if max_macs is None else int(min(_ANY, graph.macs * max_macs)))
    followed = watch or Watch()
    try:
        searches = _searches(graph, board, followed, fed=fed, recompute=goal.recompute)
        return _staged(graph, _best_of(searches, goal, board), board, max_ram)
    except (KeyboardInterrupt, OutOfTimeError) as ending:
        if watch is None:
            raise
        return _staged(graph, _so_far(graph, board, goal, watch, ending, fed=fed), board, max_ram)


def pareto(
    graph: Graph, board: Board | None = None, *, fed: bool = False, watch: Watch | None = None
) -> tuple[Plan, ...]:
    """Return the plans of which none has both less memory and less work than another.

    Args:
        graph: a verified graph.
        board: whose kernels to use; ``None`` for portable ones.
        fed: see `plan_model`.
        watch: see `plan_model`.

    Returns:
        Plans from the least memory to the least work, which is that of plain layers (of the fewest
        streamed ones with ``fed``).
    """
    followed = watch or Watch()
    plans: list[Plan] = []
    try:
        for search in _searches(graph, board, followed, fed=fed, recompute=True):
            once = search.once()
            plans += [*once, *search.again(once[-1].arena_bytes)]
    except (KeyboardInterrupt, OutOfTimeError) as ending:
        if watch is None:
            raise
        watch.ended = _reason(ending)
        plans += _candidates(watch.plans, fed=fed)
    front = worth_choosing(plans, graph.macs)
    return tuple(_placed(graph, [plan], board, None) or plan for plan in front)


def worth_choosing(plans: Iterable[Plan], plain: int) -> list[Plan]:
    """Return the plans that no other beats, from the least memory on.

    Args:
        plans: of one graph.
        plain: multiply-accumulates of its plain layers: a stream that leaves out what nobody reads
            is not counted as less work. The plan of most memory stays, to compare with.
    """
    front: list[Plan] = []
    for plan in sorted(plans, key=lambda p: (max(p.macs, plain), -p.arena_bytes, p.instructions)):
        if not front or plan.arena_bytes < front[-1].arena_bytes:
            front.append(plan)
    return [plan for plan in front[::-1] if plan is front[0] or not _beaten(plan, front)]


def _beaten(plan: Plan, front: Iterable[Plan]) -> bool:
    """Tell whether less memory costs no more work, by the estimate of instructions as well."""
    leaner = (other for other in front if other.arena_bytes < plan.arena_bytes)
    return any(o.instructions <= plan.instructions and o.macs <= plan.macs for o in leaner)


def _searches(
    graph: Graph, board: Board | None, watch: Watch, *, fed: bool, recompute: bool
) -> Iterator[Search]:
    isa = Isa.PORTABLE if board is None else Isa[board.isa.upper()]
    search = None
    for effort in watch.efforts:
        if search is not None and search.effort.broad == effort.broad:
            search = search.further(effort)
        else:
            ways = {"fed": fed, "recompute": recompute}
            search = Search(graph, isa, **ways, effort=effort, watch=watch)
        yield search


def _best_of(searches: Iterable[Search], goal: _Goal, board: Board | None) -> Plan:
    """Return the best plan of all searches; the last one says why there is none."""
    plans, refusal = [], None
    for search in searches:
        try:
            plans.append(_best(search, goal, board))
        except FitError as error:
            refusal = error
    if not plans and refusal is not None:
        raise refusal
    return min(plans, key=goal.rank)


def _best(search: Search, goal: _Goal, board: Board | None) -> Plan:
    """Return the plan that comes nearest to ``goal``, in the banks of ``board``."""
    if goal.max_ram is None:
        least = list(_least(search, goal.most_macs))
        return _placed(search.graph, least, board, None) or least[0]
    fitting = [plan for plan in _lightest(search, goal.max_ram) if goal.met(plan)]
    if not fitting:
        least = [_leanest(search, goal.most_macs)]
        if not goal.met(least[0]):
            raise _impossible(search, goal, least[0])
        fitting = least
    return _placed(search.graph, fitting, board, goal.max_ram) or fitting[0]


def _so_far(
    graph: Graph,
    board: Board | None,
    goal: _Goal,
    watch: Watch,
    ending: BaseException,
    *,
    fed: bool,
) -> Plan:
    """Return the best of the plans that were found before the search ended."""
    watch.ended = _reason(ending)
    plans = [plan for plan in _candidates(watch.plans, fed=fed) if goal.met(plan)]
    if not plans and isinstance(ending, KeyboardInterrupt):
        raise ending
    if not plans:
        raise FitError(
            "E307",
            f"the search was ended by {watch.ended} before it found a plan within the limits",
            hints=["--effort normal"],
        )
    plans.sort(key=goal.rank)
    return _placed(graph, plans, board, goal.max_ram) or plans[0]


def _candidates(plans: list[Plan], *, fed: bool) -> list[Plan]:
    return [plan for plan in plans if plan.feed or plan.pull] if fed else plans


def _reason(ending: BaseException) -> str:
    return "Ctrl-C" if isinstance(ending, KeyboardInterrupt) else "its time"


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
    """Yield plans of least memory first, those of much slower kernels last."""
    if most_macs is not None:
        yield _leanest(search, most_macs)
    quick = search.quick()
    yield from reversed(quick)
    yield from (plan for plan in reversed(search.once()) if plan not in quick)


def _lightest(search: Search, most_bytes: int) -> Iterator[Plan]:
    """Yield plans within so many bytes, those of least work first."""
    fitting = [plan for plan in search.once() if plan.arena_bytes <= most_bytes]
    yield from sorted(fitting, key=lambda plan: (plan.instructions, plan.arena_bytes))
    if not fitting and (plan := search.lightest(most_bytes)) is not None:
        yield plan


def _staged(graph: Graph, plan: Plan, board: Board | None, most_bytes: int | None) -> Plan:
    """Return ``plan`` with constants in free room where ``board`` would wait for its flash."""
    if board is None or board.flash_access is None or len(plan.regions) > 1:
        return plan
    (region,) = plan.regions
    room = next(bank.size for bank in banks_of(board) if bank.name == region)
    most = None if most_bytes is None else min(most_bytes, room)
    staged = with_staged_weights(graph, plan, board.flash_access, most)
    return plan if staged is plan else check_plan(graph, staged)


def _leanest(search: Search, most_macs: int | None) -> Plan:
    """Return the plan of least memory within a number of multiply-accumulates."""
    once = search.once()[-1]
    again = search.leanest(_ANY if most_macs is None else most_macs)
    return once if again is None or once.arena_bytes <= again.arena_bytes else again


def _impossible(search: Search, goal: _Goal, least: Plan) -> FitError:
    """Say what the least memory is within the limit of work, and what it costs."""
    name, macs, cost = search.graph.name, goal.most_macs, least.mac_factor
    assert goal.max_ram is not None, "without it there is always a plan"
    within = "" if macs is None else f" within {macs} multiply-accumulates"
    also = "" if macs is None else f" --max-macs {_factor(macs / search.graph.macs)}"
    hints = [f"--max-ram {least.arena_bytes}{also}"]
    light = None if macs is None else search.lightest(goal.max_ram)
    if light is not None:
        hints.append(f"--max-ram {goal.max_ram} --max-macs {_factor(light.mac_factor)}")
    return FitError(
        "E304",
        f"no plan of {name} needs at most {goal.max_ram} bytes of RAM{within}: "
        f"the least is {least.arena_bytes}, with {cost:.3f} times the work",
        numbers={
            "max_ram_bytes": goal.max_ram,
            "least_ram_bytes": least.arena_bytes,
            "mac_factor": cost,
        },
        hints=hints,
    )


def _factor(factor: float) -> str:
    """Return a factor that is not less, with few digits."""
    return f"{math.ceil(factor * 1e4) / 1e4:g}x"
