"""``tessera quantize``: a float model and sample inputs become an integer ``.tflite`` file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from toolchain.cli.arguments import (
    input_constants,
    input_options,
    input_shapes,
    model_argument,
)
from toolchain.cli.evaluation import Evaluated, evaluate, evaluation_options
from toolchain.cli.quantization_report import error_facts, report_page, say_drops, say_errors
from toolchain.cli.report import Reporter, common_options
from toolchain.cli.samples import Samples, load_samples
from toolchain.errors import UsageError

if TYPE_CHECKING:
    from toolchain.ir import Graph
    from toolchain.quantization import Mixed

_ENOUGH = 100
_REPORTED = 20  # cases that the report per layer runs
_METHODS = ("minmax", "percentile", "mse", "entropy")
_ROUNDINGS = ("reconstruct", "adaround", "nearest")


@dataclass(frozen=True)
class _Chosen:
    """The options of the verb, by their names."""

    data: Path | None
    output: Path | None
    activations: str
    names: tuple[str, ...]
    int4: tuple[str, ...]
    mixed: float | None
    method: str | None
    rounding: str
    equalize: bool
    test: Path | None
    shapes: tuple[str, ...]
    constants: tuple[str, ...]
    keep_layout: bool
    standard: bool
    per_layer: bool
    drop_per_layer: bool
    page: Path | None
    labels: Path | None
    targets: tuple[str, ...]
    board: str
    preprocess: str
    confusion: bool

    @property
    def wide(self) -> bool:
        """Tell whether all activations get 16 bits."""
        return self.activations == "int16"

    @property
    def label(self) -> str:
        """Return what the activations are called in the name of the file."""
        return "mixed" if self.names or self.mixed is not None else self.activations


@click.command()
@model_argument()
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Sample inputs as the model takes them: .npz, .npy, a folder of .npy or of images.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="File to write. [MODEL_int8.tflite]"
)
@click.option(
    "--activations",
    type=click.Choice(("int8", "int16")),
    default="int8",
    show_default=True,
    help="Bits of activations.",
)
@click.option(
    "--int16",
    "names",
    metavar="NAME",
    multiple=True,
    help="Layer or tensor with int16 activations beside int8; * and ? for any text. Repeatable.",
)
@click.option(
    "--int4",
    metavar="NAME",
    multiple=True,
    help="Layer with 4-bit weights, int8 elsewhere; * and ? for any text. Repeatable.",
)
@click.option(
    "--mixed",
    metavar="DB",
    type=float,
    help="int16 for as few activations as outputs with this signal to noise ratio need.",
)
@click.option(
    "--method",
    type=click.Choice(_METHODS),
    help="How ranges of int8 are chosen; int16 takes twice what was seen.  [default: minmax]",
)
@click.option(
    "--rounding",
    type=click.Choice(_ROUNDINGS),
    default=_ROUNDINGS[0],
    show_default=True,
    help="Of weights: fitted to the float outputs layer by layer, then learned, or each alone.",
)
@click.option(
    "--equalize/--no-equalize",
    default=True,
    help="Bring the channels between two layers to like ranges.  [default: on]",
)
@click.option("--eval", "test", type=click.Path(path_type=Path), help="Samples to measure on.")
@input_options()
@click.option("--keep-layout", is_flag=True, help="Keep channels-first inputs as they are.")
@click.option(
    "--standard-operators",
    "standard",
    is_flag=True,
    help="Write layer normalisation as eight operators that other TFLite runtimes have.",
)
@click.option("--per-layer", is_flag=True, help="Show the error of every layer.")
@click.option(
    "--drop-per-layer", is_flag=True, help="Show what each layer's rounding alone costs on --eval."
)
@click.option(
    "--per-layer-report", "page", type=click.Path(path_type=Path), help="Write an HTML report."
)
@evaluation_options
@common_options
def command(reporter: Reporter, model: Path, **options: Any) -> int:
    """Quantise the float MODEL (ONNX) to int8, or int16 activations, with sample inputs."""
    from toolchain.exporters.tflite import export_tflite
    from toolchain.importers import import_float
    from toolchain.passes import channels_last_inputs, simplify, spell_out_layer_norms
    from toolchain.quantization import compare_layers

    chosen = _Chosen(**options)
    _check_options(chosen)
    shapes, constants = input_shapes(chosen.shapes), input_constants(chosen.constants)
    graph = import_float(model, shapes=shapes, constants=constants)
    graph = spell_out_layer_norms(graph) if chosen.standard else graph
    calibration = _calibration(reporter, chosen, graph, model)
    graph, quantised = _quantised(reporter, chosen, graph, calibration)
    tested = _test_samples(chosen, graph, quantised) or calibration
    compared = tested.cases[:_REPORTED]
    errors = compare_layers(graph, quantised, compared) if compared else []
    say_errors(reporter, errors, graph.outputs, chosen.per_layer)
    accuracy = _accuracy(reporter, chosen, graph, quantised, tested) if chosen.test else {}
    final = simplify(quantised if chosen.keep_layout else channels_last_inputs(quantised))
    target = chosen.output or Path(f"{model.stem}_{chosen.label}.tflite")
    written = export_tflite(final)
    _write(target, written)
    ports = ", ".join(f"{x.name} {x.dtype.value}{list(x.shape)}" for x in final.input_tensors)
    reporter.say(f"wrote {target} ({len(written):,} bytes), input {ports}")
    if chosen.page and compared:
        page = report_page(graph, errors, compared, accuracy)
        _write(chosen.page, page.encode())
        reporter.say(f"wrote {chosen.page}")
    custom = _say_custom(reporter, final)
    reporter.note(f"next: tessera compile {target} --board BOARD")
    return reporter.result(
        {
            "output": str(target),
            "bytes": len(written),
            "samples": len(calibration.cases),
            "method": chosen.method or "minmax",
            "rounding": chosen.rounding,
            "equalized": chosen.equalize,
            "activations": chosen.activations,
            "int16": _lifted(graph, quantised),
            "int4": _narrow(quantised),
            "inputs": [list(x.shape) for x in final.input_tensors],
            "layers": [error_facts(error) for error in errors],
            "accuracy": accuracy,
            "custom_operators": custom,
        }
    )


def _say_custom(reporter: Reporter, graph: Graph) -> dict[str, int]:
    """Warn of operators that no other runtime executes; return how often each occurs."""
    from toolchain.exporters.tflite import custom_operators

    found = dict(custom_operators(graph))
    if found:
        listed = ", ".join(f"{count} {name}" for name, count in found.items())
        reporter.warn(
            f"only Tessera executes {listed} of this file; "
            "--standard-operators writes layer normalisation for every TFLite runtime"
        )
    return found


def _check_options(chosen: _Chosen) -> None:
    if chosen.wide and chosen.method:
        raise UsageError("E101", "--method chooses ranges of int8: drop it, or --activations int16")
    if chosen.wide and chosen.label == "mixed":
        raise UsageError("E101", "--int16 and --mixed choose among int8: drop --activations int16")
    if chosen.wide and chosen.int4:
        raise UsageError("E101", "--int4 stands beside int8 activations: drop --activations int16")
    if chosen.names and chosen.mixed is not None:
        raise UsageError("E101", "--mixed chooses the activations itself: drop --int16")
    if chosen.mixed is not None and chosen.data is None:
        raise UsageError("E101", "--mixed measures on sample inputs: it needs --data")
    if chosen.test is None and (chosen.labels or chosen.drop_per_layer or chosen.confusion):
        raise UsageError("E101", "--labels, --confusion and --drop-per-layer need --eval")
    if chosen.wide and chosen.drop_per_layer:
        raise UsageError("E101", "--drop-per-layer rounds to int8: drop it, or --activations int16")


def _calibration(reporter: Reporter, chosen: _Chosen, graph: Graph, model: Path) -> Samples:
    """Return the samples of ``--data``, none if the model needs none."""
    from toolchain.cli.samples import check_values_differ
    from toolchain.quantization import uncalibrated

    if chosen.data is None:
        if uncalibrated(graph):
            raise _no_data(graph, model)
        return Samples([])
    samples = load_samples(chosen.data, graph.input_tensors, chosen.preprocess)
    check_values_differ(graph.input_tensors, samples.cases, chosen.data)
    if len(samples.cases) < _ENOUGH:
        reporter.warn(f"{len(samples.cases)} samples; {_ENOUGH} to 500 give steadier ranges")
    return samples


def _quantised(
    reporter: Reporter, chosen: _Chosen, graph: Graph, samples: Samples
) -> tuple[Graph, Graph]:
    """Return the float graph that is rounded, and the integer graph that is made of it."""
    from toolchain.quantization import prepare, quantize_mixed, quantize_ready

    method = chosen.method or "minmax"
    reporter.note(f"calibrating on {len(samples.cases)} samples ({method})")
    cases, int4 = samples.cases, chosen.int4
    equalize, rounding = chosen.equalize, chosen.rounding
    if chosen.mixed is not None:
        mixed = quantize_mixed(
            graph, cases, chosen.mixed, method, int4=int4, equalize=equalize, rounding=rounding
        )
        _say_reached(reporter, mixed)
        found = mixed.ready.graph, mixed.graph
    else:
        bits, names = chosen.activations, chosen.names
        ready = prepare(graph, cases, activations=bits, int16=names, int4=int4, equalize=equalize)
        found = ready.graph, quantize_ready(ready, cases, method, rounding=rounding)
    if chosen.label == "mixed":
        _say_lifted(reporter, *found)
    if int4:
        _say_narrow(reporter, found[1])
    return found


def _say_reached(reporter: Reporter, mixed: Mixed) -> None:
    if not mixed.kept_back:
        reporter.warn(
            f"{mixed.calibration_db:.1f} dB on the calibration samples themselves: "
            "too few to keep some back, others may have less"
        )
        return
    reporter.say(
        f"outputs: {mixed.calibration_db:.1f} dB on calibration samples, {mixed.sqnr_db:.1f} dB on "
        f"{mixed.kept_back} kept back from it, {mixed.cautious_db:.1f} dB less one standard error"
    )


def _lifted(graph: Graph, quantised: Graph) -> list[str]:
    """Return the float graph's activations that have 16 bits in the integer graph."""
    from toolchain.ir import DType

    kept = (quantised.tensors[name] for name in graph.tensors if name in quantised.tensors)
    return [x.name for x in kept if x.dtype is DType.INT16 and not x.is_constant]


def _narrow(quantised: Graph) -> list[str]:
    """Return the layers that have 4-bit weights."""
    from toolchain.ir import DType

    narrow = {name for name, x in quantised.tensors.items() if x.dtype is DType.INT4}
    return [node.name for node in quantised.nodes if narrow.intersection(node.inputs)]


def _say_narrow(reporter: Reporter, quantised: Graph) -> None:
    names = _narrow(quantised)
    reporter.say(f"4-bit weights: {len(names)} layers: {', '.join(names) or 'none'}")


def _say_lifted(reporter: Reporter, graph: Graph, quantised: Graph) -> None:
    names = _lifted(graph, quantised)
    count = sum(not tensor.is_constant for tensor in graph.tensors.values())
    reporter.say(f"int16: {len(names)} of {count} activations: {', '.join(names) or 'none'}")


def _test_samples(chosen: _Chosen, graph: Graph, quantised: Graph) -> Samples | None:
    """Return the samples of ``--eval``, ``None`` without it."""
    from toolchain.cli.samples import check_range

    if chosen.test is None:
        return None
    samples = load_samples(chosen.test, graph.input_tensors, chosen.preprocess, chosen.labels)
    check_range(quantised.input_tensors, samples.cases, chosen.test)
    return samples


def _accuracy(
    reporter: Reporter, chosen: _Chosen, graph: Graph, quantised: Graph, samples: Samples
) -> dict[str, Any]:
    """Print and return the figures of the networks on ``--eval``."""
    from toolchain.passes import simplify

    what = Evaluated(simplify(quantised), graph, samples)
    found = evaluate(reporter, what, chosen.targets, chosen.board, chosen.confusion)
    if chosen.drop_per_layer:
        if samples.labels is None:
            raise UsageError("E101", "--drop-per-layer needs labels", where=str(chosen.test))
        found["drops"] = say_drops(reporter, graph, quantised, samples.cases, samples.labels)
    return found


def _no_data(graph: Graph, model: Path) -> UsageError:
    shapes = ", ".join(f"float32[N, {', '.join(map(str, x.shape))}]" for x in graph.input_tensors)
    return UsageError(
        "E115",
        f"a float model needs sample inputs: --data with {shapes}",
        where=str(model),
        hints=[f"tessera quantize {model} --data calib.npz"],
    )


def _write(path: Path, data: bytes) -> None:
    from toolchain.files import write_whole

    try:
        write_whole(path, data)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise UsageError("E106", f"cannot write: {why}", where=str(path)) from None
