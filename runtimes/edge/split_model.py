"""Which operators of an ONNX model become C, and which are left to onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runtimes.edge.onnx_parts import CutModel, Part
from toolchain.errors import ModelError, UsageError
from toolchain.importers.onnx import import_onnx, refused_operators
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
        parts: in the order of execution.
        graphs: the integer graph of each part that becomes C, by the part's place.
        reasons: why the engine has an operator, by its place in the file, where there is a reason
            of its own.
    """

    cut: CutModel
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
    """Cut a model in parts that become C and parts for onnxruntime.

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
    cut = CutModel(path, cases[0])
    reasons = dict.fromkeys(_named(cut, left, path), _ASKED)
    while True:
        parts, graphs = cut.parts(reasons), {}
        more: dict[int, str] = {}
        for place, part in enumerate(parts):
            if part.compiled:
                made = _float_graph(cut, part)
                if isinstance(made, Graph):
                    graphs[place] = made
                else:
                    more.update(made)
        if not more:
            break
        reasons.update(more)
    missing = [n for graph in graphs.values() for n in uncalibrated(graph)]
    if missing and not calibrated:
        raise UsageError(
            "E115",
            f'a float model needs sample inputs: the range of "{missing[0]}" is not known',
            where=str(path),
            hints=["--data calib.npz"],
        )
    integer = {place: _integer(cut, parts[place], graphs[place], cases) for place in graphs}
    return Split(cut, parts, integer, reasons)


def _named(cut: CutModel, left: Sequence[str], path: Path) -> list[int]:
    """Return the operators that a user names by kind, name or output."""
    found = []
    for wanted in left:
        places = [
            i
            for i, node in enumerate(cut.nodes)
            if wanted in (node.op_type, node.name, *node.output)
        ]
        if not places and wanted != UNSUPPORTED:
            kinds = ", ".join(sorted({node.op_type for node in cut.nodes}))
            raise UsageError(
                "E141",
                f'no operator is called "{wanted}"',
                where=str(path),
                hints=[f"--engine-for {UNSUPPORTED}", f"kinds of operators: {kinds}"],
            )
        found += places
    return found


def _float_graph(cut: CutModel, part: Part) -> Graph | dict[int, str]:
    """Return the float graph of a part, or the operators that the engine shall have, with why."""
    data = cut.submodel(part)
    try:
        refused = refused_operators(data)
        if refused:
            places = cut.places(part)
            return {places[i]: f"not supported{why and f' ({why})'}" for i, why in refused.items()}
        graph = import_onnx(data, "part")
    except ModelError as error:
        return dict.fromkeys(part.nodes, error.what)
    return graph if graph.macs else dict.fromkeys(part.nodes, _IDLE)


def _integer(
    cut: CutModel, part: Part, graph: Graph, cases: Sequence[Mapping[str, Array]]
) -> Graph:
    """Return the integer graph of a part, calibrated on what the model hands it."""
    if not uncalibrated(graph):
        return simplify(quantize(graph))
    seen = [{**case, **_inner(cut, part, case)} for case in cases]
    return simplify(quantize(graph, [[values[name] for name in graph.inputs] for values in seen]))


def _inner(cut: CutModel, part: Part, case: Mapping[str, Array]) -> dict[str, Array]:
    """Return the inputs of a part that are not the model's."""
    return cut.run([name for name in part.inputs if name not in case], case)
