"""Run labelled samples through a network's forms and say how good each is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from toolchain.cli.report import Reporter
from toolchain.cli.table import print_table
from toolchain.errors import UsageError

if TYPE_CHECKING:
    from toolchain.cli.samples import Samples
    from toolchain.ir import Array, Graph

FIGURES = ("top1", "top5", "mse", "auc", "same_class_as_float")
TARGETS = ("float", "interpreter", "host", "emulator")
_SMALL = 20  # classes up to which the confusion is printed
_TOP = 5


@dataclass(frozen=True)
class Evaluated:
    """What is evaluated.

    Attributes:
        graph: the integer graph.
        real: the float graph, ``None`` where only the integer graph is known.
        samples: float inputs in the layout of both, and labels.
    """

    graph: Graph
    real: Graph | None
    samples: Samples


def evaluation_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb ``--labels``, ``--on``, ``--board``, ``--preprocess`` and ``--confusion``."""
    path = click.Path(path_type=Path)
    for option in (
        click.option("--labels", type=path, help="Classes of the cases, .npy of integers."),
        click.option(
            "--on", "targets", type=click.Choice(TARGETS), multiple=True,
            help="What runs: repeat for several.  [default: float and interpreter]",
        ),
        click.option("--board", "-b", metavar="ID", default="emulator_m4_16m",
                     show_default=True, help="Board that the emulator stands for."),
        click.option("--preprocess", default="", metavar="STEPS",
                     help='Of image pixels (0 to 255), in order: "bgr,/255,-0.5,/0.25".'),
        click.option("--confusion", is_flag=True, help="Show which classes are taken for which."),
    ):  # fmt: skip
        function = option(function)
    return function


def evaluate(
    reporter: Reporter, what: Evaluated, targets: Sequence[str], board: str, confusion: bool
) -> dict[str, Any]:
    """Print and return the figures of every target; see `_figures`."""
    import numpy as np

    chosen = list(targets) or [name for name in TARGETS[:2] if what.real or name != "float"]
    if what.real is None and "float" in chosen:
        raise UsageError("E101", "--on float needs the float model: --reference MODEL")
    outputs = {name: _outputs(reporter, what, name, board) for name in chosen}
    inputs = np.stack([case[0] for case in what.samples.cases])
    _check_labels(what.samples.labels, outputs[chosen[0]], inputs)
    facts = []
    for name, found in outputs.items():
        facts.append({"name": name, **_figures(inputs, found, what.samples.labels)})
        if "float" in outputs and name != "float":
            same = found.argmax(axis=1) == outputs["float"].argmax(axis=1)
            facts[-1]["same_class_as_float"] = float(same.mean())
    _say(reporter, facts, len(inputs))
    result: dict[str, Any] = {"cases": len(inputs), "targets": facts}
    if confusion and what.samples.labels is not None:
        result["confusion"] = _confusion(reporter, outputs[chosen[-1]], what.samples.labels)
    return result


def _outputs(reporter: Reporter, what: Evaluated, target: str, board: str) -> Array:
    """Return the real values of the first output of all cases, shape (N, values)."""
    import numpy as np

    from toolchain.cli.targets import progress
    from toolchain.ir import run
    from toolchain.quantization.report import integer_case, real_values
    from toolchain.reference import run_float

    cases = what.samples.cases
    if target == "float" and what.real is not None:
        real = what.real
        made = [run_float(real, case)[0] for case in progress(reporter, "float", cases)]
        return np.stack([values.reshape(-1) for values in made])
    codes = [integer_case(what.graph, case) for case in cases]
    if target == "interpreter":
        found = [run(what.graph, case)[0] for case in progress(reporter, target, codes)]
    else:
        found = _compiled(reporter, what.graph, codes, target, board)
    (first, *_) = what.graph.output_tensors
    return np.stack([real_values(first, values).reshape(-1) for values in found])


def _compiled(
    reporter: Reporter, graph: Graph, codes: Sequence[Sequence[Array]], target: str, board: str
) -> list[Array]:
    from boards import load_board
    from toolchain.cli.pipeline import Project, plan_for
    from toolchain.cli.targets import on_emulator, on_host

    known = load_board(board)
    project = Project(Path(), graph, plan_for(graph, known), known, "model")
    if target == "host":
        return [outputs[0] for outputs in on_host(project, codes, reporter)]
    return [one.outputs[0] for one in on_emulator(project, codes, reporter)]


def _check_labels(labels: Array | None, outputs: Array, inputs: Array) -> None:
    classes = 2 if _reconstructs(inputs, outputs) else outputs.shape[1]
    if labels is not None and (labels.min() < 0 or labels.max() >= classes):
        raise UsageError(
            "E122",
            f"labels from {labels.min()} to {labels.max()}, but there are {classes} classes",
        )


def _reconstructs(inputs: Array, outputs: Array) -> bool:
    """Tell whether outputs look like inputs: an autoencoder's error tells anomalies."""
    return bool(inputs[0].size == outputs[0].size)


def _figures(inputs: Array, outputs: Array, labels: Array | None) -> dict[str, float]:
    """Return the figures of one target.

    Returns:
        ``mse`` and, with labels 1 for anomalies, ``auc`` where outputs are reconstructions; else
        ``top1`` and, for more than five classes, ``top5``.
    """
    from toolchain.evaluation import area_under_roc, reconstruction_errors, top_share

    if _reconstructs(inputs, outputs):
        errors = reconstruction_errors(inputs, outputs)
        found = {"mse": float(errors.mean())}
        return found if labels is None else {**found, "auc": area_under_roc(errors, labels)}
    if labels is None:
        return {}
    found = {"top1": top_share(outputs, labels)}
    return {**found, "top5": top_share(outputs, labels, _TOP)} if outputs.shape[1] > _TOP else found


def _say(reporter: Reporter, facts: Sequence[dict[str, Any]], count: int) -> None:
    shown = [name for name in FIGURES if any(name in one for one in facts)]
    rows = [
        (one["name"], count, *(_figure(name, one.get(name)) for name in shown)) for one in facts
    ]
    print_table(reporter, ("target", ">cases", *(f">{n.replace('_', ' ')}" for n in shown)), rows)


def _figure(name: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.5g}" if name in ("mse", "auc") else f"{value:.2%}"


def _confusion(reporter: Reporter, outputs: Array, labels: Array) -> list[list[int]]:
    from toolchain.evaluation import confusion

    counts = confusion(outputs, labels)
    rows = [(f"class {number}", *row) for number, row in enumerate(counts.tolist())]
    if len(rows) <= _SMALL:
        print_table(reporter, ("label", *(f">as {n}" for n in range(len(rows)))), rows)
    else:
        worst = _worst(counts)
        print_table(reporter, (">label", ">taken for", ">times"), worst)
    found: list[list[int]] = counts.tolist()
    return found


def _worst(counts: Array) -> list[tuple[int, int, int]]:
    """Return the commonest mistakes as (label, answer, times)."""
    import numpy as np

    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong.reshape(-1), kind="stable")[:_SMALL]
    places = [divmod(int(place), len(counts)) for place in order]
    return [(a, b, int(wrong[a, b])) for a, b in places if wrong[a, b]]
