"""Leave conversion of inputs and outputs to the caller, on request."""

from __future__ import annotations

from dataclasses import replace

from toolchain.ir import DType, Graph
from toolchain.ops import Dequantize, Quantize


def drop_float_edges(graph: Graph) -> Graph:
    """Return the graph without QUANTIZE of float32 inputs and DEQUANTIZE to float32 outputs.

    The caller then gives and takes integers. Inputs that anything else reads as float32 stay.
    """
    renamed: dict[str, str] = {}
    dropped: set[str] = set()
    for node in graph.nodes:
        source, target = node.inputs[0], node.outputs[0]
        if source is None:
            continue
        if isinstance(node.op, Quantize) and source in graph.inputs:
            if graph.tensors[source].dtype is DType.FLOAT32 and graph.read_once(source):
                renamed[source] = target
                dropped.add(node.name)
        elif isinstance(node.op, Dequantize) and target in graph.outputs:
            taken = {*graph.sources, *graph.sinks, *renamed.values()}
            if not graph.consumers[target] and source not in taken:
                renamed[target] = source
                dropped.add(node.name)
    return _renamed(graph, renamed, dropped)


def _renamed(graph: Graph, renamed: dict[str, str], dropped: set[str]) -> Graph:
    """Return the graph with other tensors as inputs and outputs, without the dropped nodes."""
    moved = replace(
        graph,
        inputs=tuple(renamed.get(name, name) for name in graph.inputs),
        outputs=tuple(renamed.get(name, name) for name in graph.outputs),
    )
    return moved.with_nodes(node for node in graph.nodes if node.name not in dropped)
