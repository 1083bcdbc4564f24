"""``tessera plan``: how a model uses memory, before any code is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from toolchain.cli.arguments import board_option, model_argument
from toolchain.cli.fitting import ways_to_fit
from toolchain.cli.planning import (
    both_inputs,
    planning_options,
    read_plan_file,
    watching,
    wish,
)
from toolchain.cli.reading import Reading, reading_options
from toolchain.cli.report import Reporter, common_options
from toolchain.cli.table import print_table

if TYPE_CHECKING:
    from boards import Board
    from toolchain.ir import Graph
    from toolchain.plan import Plan
    from toolchain.plan.diff import PlanDiff


_LETTERS = 48


@click.command()
@model_argument()
@board_option()
@planning_options
@reading_options
@click.option("--pareto", "every", is_flag=True, help="Show every plan worth choosing.")
@click.option("--html", type=click.Path(path_type=Path), help="Write a page with the timelines.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the plan as JSON.")
@click.option(
    "--diff", "other_file", type=click.Path(path_type=Path), help="Compare with this plan.json."
)
@common_options
def command(
    reporter: Reporter,
    model: Path,
    board: str | None,
    max_ram: int | None,
    max_macs: str | None,
    effort: str,
    fed: bool,
    reading: Reading,
    every: bool,
    html: Path | None,
    output: Path | None,
    other_file: Path | None,
) -> int:
    """Plan MODEL: the arena's map, its lower bound, and whether a board has room for it.

    With --max-ram the least work within that arena; else the least memory that costs little work.
    """
    from boards import load_board
    from toolchain.cli.pipeline import load_graph
    from toolchain.plan import pareto, write_plan
    from toolchain.plan.diff import diff

    asked = wish(max_ram, max_macs, fed=fed, effort=effort)
    target = load_board(board) if board else None
    graph = load_graph(model, reporter, reading)
    other = read_plan_file(other_file, graph, target) if other_file else None
    plan, found = asked.choose(graph, target, reporter)
    front: Sequence[Plan] = found
    if every or html:
        with watching(reporter, effort) as watch:
            front = pareto(graph, target, fed=fed, watch=watch)
    inputs = both_inputs(graph, plan, target, effort)
    facts = {
        "chosen": describe(plan),
        "lower_bound_bytes": plan.lower_bound_bytes,
        **inputs.facts(),
        "fits": None,
    }
    say_arena(reporter, plan)
    say_choices(reporter, plan, front)
    reporter.say(str(inputs))
    if target:
        facts["fits"] = _say_whether_it_fits(reporter, graph, plan, target)
    if other:
        say_diff(reporter, changes := diff(graph, other, plan))
        facts["diff"] = asdict(changes)
    if output:
        write_plan(plan, output)
        reporter.say(f"wrote {output}")
    if html:
        write_page(html, graph, front, plan, other)
        reporter.say(f"wrote {html}")
    if every:
        facts["pareto"] = [describe(point) for point in front]
    return reporter.result(facts, 3 if facts["fits"] is False else 0)


def _say_whether_it_fits(reporter: Reporter, graph: Graph, plan: Plan, board: Board) -> bool:
    from toolchain.cli.compile import say_fit
    from toolchain.cli.pipeline import footprint

    fit = footprint(graph, plan, board)
    say_fit(reporter, graph, fit, board)
    for hint in ways_to_fit(graph, fit, plan, board)[0]:
        reporter.say(f"hint: {hint}")
    return fit.fits


def describe(plan: Plan) -> dict[str, Any]:
    """Return a plan for ``--json``."""
    return {
        "arena_bytes": plan.arena_bytes,
        "lower_bound_bytes": plan.lower_bound_bytes,
        "mac_factor": plan.mac_factor,
        "stages": [_stage(stage) for stage in plan.stages],
        "repeats": [asdict(repeat) for repeat in plan.repeats],
        "plan_hash": plan.hash,
    }


def _stage(stage: Any) -> dict[str, Any]:
    from toolchain.plan.plan import stage_nodes

    kind = type(stage).__name__.removesuffix("Stage").lower()
    return {"kind": kind, "nodes": list(stage_nodes(stage))}


def say_arena(reporter: Reporter, plan: Plan) -> None:
    """Print the arena's map in order of time."""
    rows: list[tuple[object, ...]] = []
    for slot in sorted(plan.slots, key=lambda s: (s.first, s.region, s.offset)):
        name, *others = slot.tensors or (slot.name,)
        life = f"{slot.first}..{slot.last}"
        rows.append((slot.region, slot.offset, slot.size, life, name))
        rows += [("", "", "", "", other) for other in others]
    print_table(reporter, ("region", ">offset", ">bytes", "steps", "tensor"), rows)
    reporter.say(f"arena {plan.arena_bytes:,} bytes ({_proof(plan)}), {plan.macs:,} MACs")
    for repeat in plan.repeats:
        again = ", ".join(repeat.nodes)
        reporter.say(f"executed again for {', '.join(repeat.readers)}: {again}")


def say_choices(reporter: Reporter, chosen: Plan, front: Sequence[Plan]) -> None:
    """Print the front, the chosen plan marked, with the operators that are executed again."""
    least = max(1, min((plan.instructions for plan in front), default=1))
    rows = [
        (
            ">" if (plan.stages, plan.arena_bytes) == (chosen.stages, chosen.arena_bytes) else "",
            f"{plan.arena_bytes:,}",
            f"{plan.mac_factor:.3f}x",
            f"{plan.instructions / least:.3f}x",
            len(plan.stages),
            sum(len(repeat.nodes) for repeat in plan.repeats) or "",
            _proof(plan),
        )
        for plan in front
    ]
    if rows:
        print_table(reporter, ("", ">arena", ">MACs", ">work", ">stages", ">again", "proof"), rows)


def write_page(
    path: Path, graph: Graph, front: Sequence[Plan], chosen: Plan, other: Plan | None
) -> None:
    """Write the HTML page: ``chosen`` against ``other`` or the plain layers, and the front."""
    from codegen.report import plan_report
    from toolchain.files import write_whole

    plans = dict.fromkeys([*([other] if other else []), *reversed(front), chosen])
    labelled = [(_label(plan, other), plan) for plan in plans]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, plan_report(graph, labelled, chosen).encode())


def _label(plan: Plan, other: Plan | None) -> str:
    return "the other plan" if plan is other else f"{plan.arena_bytes:,} bytes"


def say_diff(reporter: Reporter, changes: PlanDiff) -> None:
    """Print how the chosen plan differs from the other one."""
    from codegen.timeline import shortened

    figures = [c for c in changes.figures if c.differs]
    for head, found in (("figure", figures), ("layer", changes.nodes), ("buffer", changes.slots)):
        rows = [(shortened(c.name, _LETTERS), c.before or "-", c.after or "-") for c in found]
        if rows:
            print_table(reporter, (head, "other plan", "this plan"), rows)
    if not (figures or changes.nodes or changes.slots):
        reporter.say("both plans are the same")


def _proof(plan: Plan) -> str:
    return "no layout is smaller" if plan.proven else f"at least {plan.lower_bound_bytes:,}"
