"""The errors of every layer, on the terminal and as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from toolchain.cli.report import Reporter
from toolchain.cli.table import print_table

if TYPE_CHECKING:
    from toolchain.ir import Array, Graph
    from toolchain.quantization import LayerError


def say_errors(
    reporter: Reporter, errors: Sequence[LayerError], outputs: Sequence[str], every: bool
) -> None:
    """Print the errors of every tensor, or of the outputs alone."""
    shown = [error for error in errors if every or error.tensor in outputs]
    rows = [(e.tensor, e.op, e.dtype.value, f"{e.sqnr_db:.1f}", f"{e.cosine:.5f}") for e in shown]
    if rows:
        print_table(reporter, ("tensor", "operator", "type", ">SQNR dB", ">cosine"), rows)


def say_drops(
    reporter: Reporter,
    graph: Graph,
    quantised: Graph,
    cases: Sequence[Sequence[Array]],
    labels: Array,
) -> list[dict[str, Any]]:
    """Print and return what each layer's rounding alone costs of the share of right answers."""
    from toolchain.evaluation import layer_drops

    drops = layer_drops(graph, quantised, cases, labels)
    rows = [(one.tensor, one.op, f"{one.top1:.2%}", f"{one.drop:+.2%}") for one in drops]
    print_table(reporter, ("tensor", "operator", ">top-1 alone", ">drop"), rows)
    return [dict(vars(one)) for one in drops]


def error_facts(error: LayerError) -> dict[str, object]:
    """Return the entry of ``layers`` in ``--json``."""
    finite = error.sqnr_db if abs(error.sqnr_db) < 1e9 else None
    return {
        "tensor": error.tensor,
        "op": error.op,
        "dtype": error.dtype.value,
        "sqnr_db": finite,
        "cosine": float(error.cosine),
    }


def report_page(
    graph: Graph,
    errors: Sequence[LayerError],
    cases: Sequence[Sequence[Array]],
    accuracy: Mapping[str, Any],
) -> str:
    """Return the page of ``--per-layer-report``; it loads nothing from elsewhere.

    Args:
        graph: the float graph.
        errors: of every layer over ``cases``.
        cases: float inputs.
        accuracy: what `toolchain.cli.evaluation.evaluate` returned, or nothing.
    """
    from codegen.render import render
    from toolchain.cli.evaluation import FIGURES
    from toolchain.quantization import calibrate
    from toolchain.quantization.advice import advise, summary

    layers = advise(graph, errors, calibrate(graph, cases))
    types = sorted({error.dtype.value for error in errors}, reverse=True)
    targets = accuracy.get("targets", [])
    return render(
        "report/quantization.html.j2",
        name=graph.name,
        activations=" and ".join(types),
        cases=len(cases),
        summary=summary(layers, graph.outputs),
        layers=layers,
        targets=targets,
        figures=[name for name in FIGURES if any(name in one for one in targets)],
    )
