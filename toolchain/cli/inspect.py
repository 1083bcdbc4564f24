"""``tessera inspect``: what is in a model, before any decision."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from toolchain.cli.arguments import input_constants, input_options, input_shapes, model_argument
from toolchain.cli.report import Reporter, common_options
from toolchain.cli.table import kib, millions, print_table
from toolchain.ir import Graph, Tensor


@click.command()
@model_argument()
@input_options()
@common_options
def command(
    reporter: Reporter, model: Path, shapes: tuple[str, ...], constants: tuple[str, ...]
) -> int:
    """Show operators, shapes, MACs and the least RAM of a model; list every problem at once.

    A float model is counted as the int8 model that `tessera quantize` makes of it.
    """
    from toolchain.plan import plan_layers

    graph, real = _load(model, reporter, input_shapes(shapes), input_constants(constants))
    bound = plan_layers(graph).lower_bound_bytes
    for kind, tensors in (("input ", real.input_tensors), ("output", real.output_tensors)):
        for tensor in tensors:
            reporter.say(f"{kind} {describe(tensor)}")
    note = "" if real is graph else "a float model; as int8: "
    reporter.say(
        f"{note}{len(graph.nodes)} operators, {millions(graph.macs)}MACs, weights "
        f"{kib(graph.weight_bytes)}, layer by layer at least {kib(bound)} of RAM"
    )
    print_table(reporter, (">#", "operator", "output", ">MACs", ">weights", "name"), _rows(graph))
    if real is not graph:
        reporter.note(f"next: tessera quantize {model} --data calib.npz")
    return reporter.result(
        {
            "float": real is not graph,
            "inputs": [facts(tensor) for tensor in real.input_tensors],
            "outputs": [facts(tensor) for tensor in real.output_tensors],
            "macs": graph.macs,
            "weight_bytes": graph.weight_bytes,
            "ram_lower_bound_bytes": bound,
            "layers": [
                {
                    "name": node.name,
                    "op": node.op.name,
                    "shape": list(graph.tensors[node.outputs[0]].shape),
                    "macs": node.op.macs(graph.operands(node)),
                }
                for node in graph.nodes
            ],
        }
    )


def _load(
    model: Path,
    reporter: Reporter,
    shapes: Mapping[str, tuple[int, ...]],
    constants: Mapping[str, float],
) -> tuple[Graph, Graph]:
    """Return the int8 graph of a model, and the graph as its user calls it."""
    from toolchain.cli.pipeline import load_any
    from toolchain.importers import import_float
    from toolchain.passes import simplify
    from toolchain.quantization import preview

    if shapes or constants:
        graph, is_float = import_float(model, shapes=shapes, constants=constants), True
    else:
        graph, is_float = load_any(model, reporter)
    return simplify(preview(graph)) if is_float else graph, graph


def describe(tensor: Tensor) -> str:
    """Return a tensor in one line: name, type, shape and quantisation."""
    text = f"{tensor.name} {tensor.dtype.value}{list(tensor.shape)}"
    if tensor.quant is not None and tensor.quant.axis is None:
        text += f" scale {tensor.scale:.6g} zero point {tensor.zero_point}"
    return text


def facts(tensor: Tensor) -> dict[str, object]:
    """Return a tensor for ``--json``."""
    quant = tensor.quant
    return {
        "name": tensor.name,
        "dtype": tensor.dtype.value,
        "shape": list(tensor.shape),
        "scale": quant.scales[0] if quant else None,
        "zero_point": quant.zero_points[0] if quant else None,
    }


def _rows(graph: Graph) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for number, node in enumerate(graph.nodes):
        operands = graph.operands(node)
        weights = sum(t.nbytes for t in operands.inputs if t is not None and t.is_constant)
        shape = "x".join(map(str, operands.outputs[0].shape))
        macs = node.op.macs(operands)
        rows.append((number, node.op.name, shape, f"{macs:,}", f"{weights:,}", node.name))
    return rows
