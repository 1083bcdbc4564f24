"""``tessera quantize``: a float model and sample inputs become an integer ``.tflite`` file."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from toolchain.cli.arguments import load_cases, model_argument
from toolchain.cli.report import Reporter, common_options
from toolchain.cli.table import print_table
from toolchain.errors import UsageError

if TYPE_CHECKING:
    from toolchain.ir import Array, Graph, Tensor
    from toolchain.quantization import LayerError

_ENOUGH = 100
_REPORTED = 20  # cases that the report per layer runs
_METHODS = ("minmax", "percentile", "mse", "entropy")
_ROUNDINGS = ("reconstruct", "nearest")


@click.command()
@model_argument()
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Sample inputs as the model takes them: .npz, .npy or a folder of .npy.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="File to write. [MODEL_int8.tflite]"
)
@click.option(
    "--activations",
    type=click.Choice(("int8", "int16")),
    default="int8",
    show_default=True,
    help="Bits of activations; weights are int8.",
)
@click.option(
    "--method",
    type=click.Choice(_METHODS),
    help="How ranges are chosen; int16 takes all that was seen.  [default: minmax]",
)
@click.option(
    "--rounding",
    type=click.Choice(_ROUNDINGS),
    default=_ROUNDINGS[0],
    show_default=True,
    help="Of int8 networks' weights: fitted to the float outputs layer by layer, or each alone.",
)
@click.option(
    "--equalize/--no-equalize",
    default=True,
    help="Bring the channels between two layers of an int8 network to like ranges.  [default: on]",
)
@click.option("--eval", "test", type=click.Path(path_type=Path), help="Inputs to compare on.")
@click.option("--labels", type=click.Path(path_type=Path), help="Their classes, .npy of integers.")
@click.option("--keep-layout", is_flag=True, help="Keep channels-first inputs as they are.")
@click.option("--per-layer", is_flag=True, help="Show the error of every layer.")
@common_options
def command(
    reporter: Reporter,
    model: Path,
    data: Path | None,
    output: Path | None,
    activations: str,
    method: str | None,
    rounding: str,
    equalize: bool,
    test: Path | None,
    labels: Path | None,
    keep_layout: bool,
    per_layer: bool,
) -> int:
    """Quantise the float MODEL (ONNX) to int8, or int16 activations, with sample inputs."""
    from toolchain.exporters.tflite import export_tflite
    from toolchain.importers import import_float
    from toolchain.passes import channels_last_inputs, simplify
    from toolchain.quantization import (
        compare_layers,
        prepare,
        quantize,
        quantize_wide,
        uncalibrated,
    )

    wide = activations == "int16"
    if wide and method:
        raise UsageError("E101", "--method chooses ranges of int8: drop it, or --activations int16")
    graph = import_float(model)
    if data is None and uncalibrated(graph):
        raise _no_data(graph, model)
    cases = sample_cases(data, graph.input_tensors) if data else []
    if data and len(cases) < _ENOUGH:
        reporter.warn(f"{len(cases)} samples; {_ENOUGH} to 500 give steadier ranges")
    chosen = "minmax" if wide else method or "minmax"
    reporter.note(f"calibrating on {len(cases)} samples ({chosen})")
    if wide:
        quantised = quantize_wide(graph, cases)
    else:
        graph = prepare(graph, cases, equalize=equalize)
        quantised = quantize(graph, cases, chosen, equalize=False, rounding=rounding)
    tested = sample_cases(test, graph.input_tensors) if test else cases
    errors = compare_layers(graph, quantised, tested[:_REPORTED]) if tested else []
    _say_errors(reporter, errors, set(graph.outputs), per_layer)
    accuracy: dict[str, float] = {}
    if test and labels:
        accuracy = _accuracy(graph, quantised, tested, labels, activations)
        shares = ", ".join(f"{name} {share:.2%}" for name, share in accuracy.items())
        reporter.say(f"top-1: {shares}")
    final = simplify(quantised if keep_layout else channels_last_inputs(quantised))
    target = output or Path(f"{model.stem}_{activations}.tflite")
    written = export_tflite(final)
    _write(target, written)
    shapes = ", ".join(f"{x.name} {activations}{list(x.shape)}" for x in final.input_tensors)
    reporter.say(f"wrote {target} ({len(written):,} bytes), input {shapes}")
    reporter.note(f"next: tessera compile {target} --board BOARD")
    return reporter.result(
        {
            "output": str(target),
            "bytes": len(written),
            "samples": len(cases),
            "method": chosen,
            "rounding": "nearest" if wide else rounding,
            "equalized": equalize and not wide,
            "activations": activations,
            "inputs": [list(x.shape) for x in final.input_tensors],
            "layers": [_facts(error) for error in errors],
            **{f"top1_{name}": share for name, share in accuracy.items()},
        }
    )


def sample_cases(path: Path, tensors: Sequence[Tensor]) -> list[list[Array]]:
    """Read float32 cases from a file, or from every ``.npy`` file of a folder, by name.

    Raises:
        UsageError: E121 if nothing can be read, E122 if arrays do not match the tensors.
    """
    if not path.is_dir():
        return load_cases(path, tensors)
    files = sorted(path.glob("*.npy"))
    if not files:
        raise UsageError("E121", "the folder holds no .npy files", where=str(path))
    return [case for file in files for case in load_cases(file, tensors)]


def _no_data(graph: Graph, model: Path) -> UsageError:
    shapes = ", ".join(f"float32[N, {', '.join(map(str, x.shape))}]" for x in graph.input_tensors)
    return UsageError(
        "E115",
        f"a float model needs sample inputs: --data with {shapes}",
        where=str(model),
        hints=[f"tessera quantize {model} --data calib.npz"],
    )


def _say_errors(
    reporter: Reporter, errors: Sequence[LayerError], outputs: set[str], every: bool
) -> None:
    shown = [error for error in errors if every or error.tensor in outputs]
    rows = [(e.tensor, e.op, f"{e.sqnr_db:.1f}", f"{e.cosine:.5f}") for e in shown]
    if rows:
        print_table(reporter, ("tensor", "operator", ">SQNR dB", ">cosine"), rows)


def _facts(error: LayerError) -> dict[str, object]:
    finite = error.sqnr_db if abs(error.sqnr_db) < 1e9 else None
    return {
        "tensor": error.tensor,
        "op": error.op,
        "sqnr_db": finite,
        "cosine": float(error.cosine),
    }


def _accuracy(
    graph: Graph, quantised: Graph, cases: Sequence[Sequence[Array]], labels: Path, name: str
) -> dict[str, float]:
    """Return the share of cases whose greatest output is the label, float and quantised."""
    from toolchain.ir import run
    from toolchain.quantization.report import integer_case
    from toolchain.reference import run_float

    classes = _classes(labels, len(cases))
    right = {"float": 0, name: 0}
    for case, label in zip(cases, classes, strict=True):
        right["float"] += int(run_float(graph, case)[0].argmax()) == label
        right[name] += int(run(quantised, integer_case(quantised, case))[0].argmax()) == label
    return {kind: count / len(classes) for kind, count in right.items()}


def _classes(path: Path, count: int) -> list[int]:
    import numpy as np

    try:
        classes = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UsageError("E121", f"cannot read labels: {error}", where=str(path)) from None
    is_list = isinstance(classes, np.ndarray) and classes.shape == (count,)
    if not is_list or classes.dtype.kind not in "iu":
        raise UsageError("E122", f"{count} integers are needed as labels", where=str(path))
    return [int(label) for label in classes]


def _write(path: Path, data: bytes) -> None:
    """Write a file in one step, so that nobody sees half of it."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(data)
        Path(file.name).replace(path)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise UsageError("E106", f"cannot write: {why}", where=str(path)) from None
