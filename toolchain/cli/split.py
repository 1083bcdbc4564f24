"""``tessera compile --engine-for``: some operators are left to an engine, the others are C."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchain.cli.engine import linux_board
from toolchain.cli.report import Reporter
from toolchain.cli.table import millions, print_table
from toolchain.errors import ToolError, UsageError

if TYPE_CHECKING:
    from runtimes.edge.split_model import Split
    from toolchain.ir import Array, Tensor

_DRAWN = 8  # random cases for a model that needs no calibration


def package_split(
    reporter: Reporter,
    model: Path,
    board: str,
    output: Path,
    wanted: tuple[str, Sequence[str]],
    data: Path | None,
) -> int:
    """Write a Python package of ``model`` in parts, and print who executes what.

    Args:
        reporter: where to print.
        model: an ONNX file, float or one that quantises its own tensors, or a ``.tflite`` file.
        board: id of a board that runs Linux.
        output: folder of the project.
        wanted: the engine, and the operators that it shall have.
        data: sample inputs, needed for a float ONNX model.
    """
    from codegen.folder import write_project
    from runtimes.edge.split_package import part_facts, split_files
    from toolchain.cli.pipeline import c_name, plan_for

    engine, _ = wanted
    target = linux_board(board, engine)
    split = _split(reporter, model, wanted, data)
    plans = {place: plan_for(graph, target) for place, graph in split.graphs.items()}
    name = c_name(model)
    files = split_files(split, plans, target, name)
    write_project(files, {"board": target.id, "name": name, "engine": engine}, output)
    facts = part_facts(split)
    _say(reporter, facts, engine)
    reporter.say(f"wrote {output}/ ({name})")
    reporter.note(f"next: pip install {output}")
    return reporter.result({"engine": engine, "package": name, "parts": facts})


def _split(
    reporter: Reporter, model: Path, wanted: tuple[str, Sequence[str]], data: Path | None
) -> Split:
    """Return the model in parts; the importers' warnings go to the reporter."""
    from runtimes.edge.engines import ENGINES
    from runtimes.edge.split_model import split_model, split_tflite

    engine, left = wanted
    if model.suffix not in ENGINES[engine]:
        suffix = " or ".join(ENGINES[engine])
        raise UsageError("E141", f"{engine} executes {suffix} files", where=str(model))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            if engine == "tflite":
                split = split_tflite(model, left)
            else:
                split = split_model(model, left, _cases(model, data), calibrated=data is not None)
        except ImportError as error:
            hint = 'pip install "tessera[onnx]"'
            raise ToolError("E605", f"{error.name} is not installed", hints=[hint]) from None
    for text in dict.fromkeys(str(warning.message) for warning in caught):
        reporter.warn(text)
    return split


def _say(reporter: Reporter, facts: Sequence[Mapping[str, Any]], engine: str) -> None:
    """Print the table of the parts, and how much of the model is C."""
    rows = [
        (
            number,
            one["by"],
            one["count"],
            millions(one["macs"]) if one["macs"] else "",
            one["operators"],
            "; ".join(one["why"]),
        )
        for number, one in enumerate(facts)
    ]
    print_table(reporter, (">part", "executed by", ">nodes", ">MACs", "operators", "why"), rows)
    total = sum(one["count"] for one in facts)
    ours = sum(one["count"] for one in facts if one["by"] == "compiled")
    reporter.say(f"{ours} of {total} operators are C, {total - ours} are executed by {engine}")


def _cases(model: Path, data: Path | None) -> list[dict[str, Array]]:
    """Return values of the graph's inputs by name: samples, or random ones without ``data``."""
    import numpy as np

    from runtimes.edge.engines import onnxruntime_ports
    from toolchain.cli.arguments import random_cases
    from toolchain.cli.samples import load_samples

    ports = onnxruntime_ports(model).inputs
    names = [port["name"] for port in ports]
    if data is not None:
        cases = load_samples(data, [_tensor(port, model) for port in ports]).cases
        return [dict(zip(names, case, strict=True)) for case in cases]
    if all(port["dtype"] == "float32" for port in ports):
        drawn = random_cases([_tensor(port, model) for port in ports], _DRAWN, 0)
        return [dict(zip(names, case, strict=True)) for case in drawn]
    return [{port["name"]: np.zeros(port["shape"], port["dtype"]) for port in ports}]


def _tensor(port: Mapping[str, Any], model: Path) -> Tensor:
    from toolchain.ir import DType, Tensor

    try:
        return Tensor(port["name"], tuple(port["shape"]), DType(port["dtype"]))
    except ValueError:
        raise UsageError(
            "E141", f"{port['dtype']} inputs are not supported", where=f'{model}, "{port["name"]}"'
        ) from None
