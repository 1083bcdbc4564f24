"""Spread the quantisations that a QDQ model gives its tensors (float graphs only)."""

from __future__ import annotations

from dataclasses import replace

from toolchain.ir import Graph, Tensor
from toolchain.ops import Relu, Reshape, Transpose


def spread_annotations(graph: Graph) -> Graph:
    """Return the graph in which moves have one quantisation on both sides.

    Rounding commutes with moving elements, and with a clamp at zero: zero is always a value of the
    quantisation, and rounding never changes the order of two values.
    """
    tensors: dict[str, Tensor] = dict(graph.tensors)
    for node in reversed(graph.nodes):
        source, target = node.inputs[0] or "", node.outputs[0]
        free = len(graph.consumers.get(source, ())) == 1 and not graph.tensors[source].is_constant
        if isinstance(node.op, Transpose | Reshape | Relu) and free:
            _copy(tensors, target, source)
    for node in graph.nodes:
        if isinstance(node.op, Transpose | Reshape):
            _copy(tensors, node.inputs[0] or "", node.outputs[0])
    return graph.with_nodes(graph.nodes, tensors.values())


def _copy(tensors: dict[str, Tensor], giver: str, taker: str) -> None:
    if tensors[taker].quant is None and tensors[giver].quant is not None:
        tensors[taker] = replace(tensors[taker], quant=tensors[giver].quant)
