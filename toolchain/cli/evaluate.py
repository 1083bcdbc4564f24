"""``tessera eval``: accuracy of a model on labelled data, in Python, in C and emulated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from toolchain.cli.arguments import model_argument
from toolchain.cli.evaluation import Evaluated, evaluate, evaluation_options
from toolchain.cli.report import Reporter, common_options
from toolchain.errors import NumericsError, UsageError


@click.command()
@model_argument()
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    help="Real inputs and labels: .npz (x and labels), .npy, or images in a folder per class.",
)
@click.option(
    "--reference", type=click.Path(path_type=Path), help="The float model that MODEL was made of."
)
@click.option("--threshold", type=float, help="Fail if top-1 or AUC of any target is lower.")
@evaluation_options
@common_options
def command(
    reporter: Reporter,
    model: Path,
    data: Path,
    reference: Path | None,
    threshold: float | None,
    labels: Path | None,
    targets: tuple[str, ...],
    board: str,
    preprocess: str,
    confusion: bool,
) -> int:
    """Measure the quantised MODEL on labelled samples, given as real values."""
    from toolchain.cli.pipeline import load_graph
    from toolchain.cli.samples import check_range, load_samples
    from toolchain.importers import import_float
    from toolchain.ir import DType

    graph = load_graph(model, reporter)
    real = import_float(reference) if reference else None
    floats = [replace(t, dtype=DType.FLOAT32, quant=None) for t in graph.input_tensors]
    if real is not None and [t.shape for t in real.input_tensors] != [t.shape for t in floats]:
        raise UsageError(
            "E122",
            "the float model takes inputs of another layout",
            where=str(reference),
            hints=["quantize with --keep-layout, or use tessera quantize --eval"],
        )
    samples = load_samples(data, floats, preprocess, labels)
    check_range(graph.input_tensors, samples.cases, data)
    facts = evaluate(reporter, Evaluated(graph, real, samples), targets, board, confusion)
    for one in facts["targets"]:
        reached = one.get("top1", one.get("auc", 1.0))
        if threshold is not None and reached < threshold:
            raise NumericsError(
                "E402", f"{one['name']} reaches {reached:.4f}, less than {threshold}", numbers=one
            )
    return reporter.result(facts)
