"""Which operators of a model become C, and which are left to an engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runtimes.edge.cut import Cut, Part
from runtimes.edge.onnx_parts import OnnxCut
from runtimes.edge.tflite_parts import TfliteCut
from toolchain.errors import ModelError, UsageError
from toolchain.importers.onnx import import_onnx, refused_operators
from toolchain.importers.tflite import import_tflite
from toolchain.importers.tflite_options import READERS
from toolchain.ir import Array, Graph
from toolchain.passes import simplify
from toolchain.quantization import quantize, uncalibrated

UNSUPPORTED = "unsupported"
_ASKED, _IDLE = "asked for", "no products beside it"


@dataclass(frozen=True)
class Split:
    """A model in parts.

    Attributes:
        cut: the model.
        engine: who executes what does not become C.
        parts: in the order of execution.
        graphs: the integer graph of each part that becomes C, by the part's place.
        reasons: why the engine has an operator, by its place in the file, where there is a reason
            of its own.
    """

    cut: Cut
    engine: str
    parts: Sequence[Part]
    graphs: Mapping[int, Graph]
    reasons: Mapping[int, str]


def split_model(
    path: Path,
    left: Sequence[str],
    cases: Sequence[Mapping[str, Array]],
    *,
    calibrated: bool = True,
) -> Split:
    """Cut an ONNX model in parts that become C and parts for onnxruntime.

    The engine gets what it is asked to, what has no counterpart in C, and operators that would
    become C without a product among them: the change of number format would cost more than they do.

    Args:
        path: a float ONNX file, or one that quantises its own tensors (QDQ).
        left: kinds or names of operators for the engine, or ``unsupported`` for no others.
        cases: values of the graph's inputs, at least one; float parts are calibrated on them.
        calibrated: whether ``cases`` are samples to calibrate on, not just any values.

    Raises:
        UsageError: E115 for float parts without samples, E141 for a name that no operator has, or
            if onnxruntime refuses the model.
        ModelError: as the importer and the quantiser.
    """
    cut = OnnxCut(path, cases[0])
    parts, graphs, reasons = _handed_out(cut, left, path, lambda part: _float_graph(cut, part))
    missing = [n for graph in graphs.values() for n in uncalibrated(graph)]
    if missing and not calibrated:
        raise UsageError(
            "E115",
            f'a float model needs sample inputs: the range of "{missing[0]}" is not known',
            where=str(path),
            hints=["--data calib.npz"],
        )
    integer = {place: _integer(cut, parts[place], graphs[place], cases) for place in graphs}
    return Split(cut, "onnxruntime", parts, integer, reasons)


def split_tflite(path: Path, left: Sequence[str]) -> Split:
    """Cut an integer ``.tflite`` model likewise, for a TFLite runtime.

    Args:
        path: the file.
        left: as in `split_model`.

    Raises:
        UsageError: E141 for a name that no operator has.
        ModelError: E201, E204 for a file that is none or damaged.
    """
    cut = TfliteCut(path)
    parts, graphs, reasons = _handed_out(cut, left, path, lambda part: _integer_graph(cut, part))
    return Split(cut, "tflite", parts, graphs, reasons)


Built = Graph | dict[int, str]
"""The graph of a part, or the operators that the engine shall have, with why."""


def _handed_out(
    cut: Cut, left: Sequence[str], path: Path, build: Callable[[Part], Built]
) -> tuple[Sequence[Part], dict[int, Graph], dict[int, str]]:
    """Return the parts, the graphs of those that become C, and why the engine has the others."""
    reasons = dict.fromkeys(_named(cut, left, path), _ASKED)
    while True:
        parts, graphs = cut.parts(reasons), dict[int, Graph]()
        more: dict[int, str] = {}
        for place, part in enumerate(parts):
            made = build(part) if part.compiled else {}
            if isinstance(made, Graph):
                graphs[place] = made
                more.update({} if made.macs else dict.fromkeys(part.nodes, _IDLE))
            else:
                more.update(made)
        if not more:
            return parts, graphs, reasons
        reasons.update(more)


def _named(cut: Cut, left: Sequence[str], path: Path) -> list[int]:
    """Return the operators that a user names by kind, name or output."""
    found = []
    for wanted in left:
        places = [i for i, kind in enumerate(cut.kinds) if wanted in (kind, *cut.called[i])]
        if not places and wanted != UNSUPPORTED:
            kinds = ", ".join(sorted(set(cut.kinds)))
            raise UsageError(
                "E141",
                f'no operator is called "{wanted}"',
                where=str(path),
                hints=[f"--engine-for {UNSUPPORTED}", f"kinds of operators: {kinds}"],
            )
        found += places
    return found


def _float_graph(cut: OnnxCut, part: Part) -> Built:
    data = cut.submodel(part)
    try:
        refused = refused_operators(data)
        if refused:
            places = cut.places(part)
            return {places[i]: f"not supported{why and f' ({why})'}" for i, why in refused.items()}
        return import_onnx(data, "part")
    except ModelError as error:
        return dict.fromkeys(part.nodes, error.what)


def _integer_graph(cut: TfliteCut, part: Part) -> Built:
    refused = {i: "not supported" for i in part.nodes if cut.kinds[i] not in READERS}
    if refused:
        return refused
    try:
        return simplify(import_tflite(cut.submodel(part), "part"))
    except ModelError as error:
        return dict.fromkeys(part.nodes, error.what)


def _integer(cut: OnnxCut, part: Part, graph: Graph, cases: Sequence[Mapping[str, Array]]) -> Graph:
    """Return the integer graph of a part, calibrated on what the model hands it."""
    if not uncalibrated(graph):
        return simplify(quantize(graph))
    seen = [{**case, **_inner(cut, part, case)} for case in cases]
    return simplify(quantize(graph, [[values[name] for name in graph.inputs] for values in seen]))


def _inner(cut: OnnxCut, part: Part, case: Mapping[str, Array]) -> dict[str, Array]:
    """Return the inputs of a part that are not the model's."""
    return cut.run([name for name in part.inputs if name not in case], case)
