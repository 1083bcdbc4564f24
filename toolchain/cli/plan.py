"""``tessera plan``: how a model uses memory, before any code is written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from toolchain.cli.arguments import board_option, model_argument
from toolchain.cli.report import Reporter, common_options
from toolchain.cli.table import print_table

if TYPE_CHECKING:
    from toolchain.plan import Plan


@click.command()
@model_argument()
@board_option()
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the plan as JSON.")
@common_options
def command(reporter: Reporter, model: Path, board: str | None, output: Path | None) -> int:
    """Plan MODEL: the arena's map, its lower bound, and whether a board has room for it."""
    from boards import load_board
    from toolchain.cli.compile import say_fit
    from toolchain.cli.pipeline import footprint, load_graph
    from toolchain.plan import check_plan, plan_model, write_plan

    target = load_board(board) if board else None
    graph = load_graph(model, reporter)
    plan = check_plan(graph, plan_model(graph, target))
    say_arena(reporter, plan)
    fits = None
    if target:
        fit = footprint(graph, plan, target)
        fits = fit.fits
        say_fit(reporter, graph, fit, target)
    if output:
        write_plan(plan, output)
        reporter.say(f"wrote {output}")
    facts = {"chosen": chosen(plan), "lower_bound_bytes": plan.lower_bound_bytes, "fits": fits}
    return reporter.result(facts, 3 if fits is False else 0)


def chosen(plan: Plan) -> dict[str, Any]:
    """Return a plan for ``--json``."""
    return {
        "arena_bytes": plan.arena_bytes,
        "mac_factor": plan.mac_factor,
        "stages": len(plan.stages),
        "plan_hash": plan.hash,
    }


def say_arena(reporter: Reporter, plan: Plan) -> None:
    """Print the arena's map in order of time."""
    rows = [
        (slot.offset, slot.size, f"{slot.first}..{slot.last}", slot.name)
        for slot in sorted(plan.slots, key=lambda s: (s.first, s.offset))
    ]
    print_table(reporter, (">offset", ">bytes", "steps", "tensor"), rows)
    proof = "no layout is smaller" if plan.proven else f"at least {plan.lower_bound_bytes:,}"
    reporter.say(f"arena {plan.arena_bytes:,} bytes ({proof}), {plan.macs:,} MACs")
