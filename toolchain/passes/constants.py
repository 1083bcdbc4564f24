"""Compute at compile time what depends on constants alone."""

from __future__ import annotations

from dataclasses import replace

from toolchain.ir import Array, Graph, Node, Tensor, constant
from toolchain.ops import AveragePool2D, Conv2D, DepthwiseConv2D, MaxPool2D, TransposeConv
from toolchain.passes.rewriter import Rewriter

# Results go to flash, so that folding must not blow up what was small (a resize of a constant).
_MAX_GROWTH = 4
_SMALL = 4096  # bytes
_SLIDING = (AveragePool2D, Conv2D, DepthwiseConv2D, MaxPool2D, TransposeConv)


def fold_constants(graph: Graph) -> Graph:
    """Return the graph with nodes of constant inputs replaced by their results.

    Kept are nodes that make an output of the graph, that slide a kernel (no file computes its
    constants so), or whose results are much larger than their inputs.
    """
    rewriter = Rewriter(graph)
    known = {name: tensor for name, tensor in graph.tensors.items() if tensor.is_constant}
    for node in graph.nodes:
        if not _foldable(graph, node, known):
            continue
        inputs = [None if name is None else known[name] for name in node.inputs]
        operands = replace(graph.operands(node), inputs=tuple(inputs))
        values: list[Array | None] = [None if t is None else t.data for t in inputs]
        results = node.op.reference(operands, values)
        for output, result in zip(operands.outputs, results, strict=True):
            known[output.name] = constant(output.name, result, output.quant)
        rewriter.fold(node, [known[name] for name in node.outputs])
    return rewriter.result()


def _foldable(graph: Graph, node: Node, known: dict[str, Tensor]) -> bool:
    inputs = [known.get(name) for name in node.inputs if name is not None]
    is_output = bool(set(node.outputs) & set(graph.sinks))
    if isinstance(node.op, _SLIDING) or is_output or not inputs or None in inputs:
        return False
    before = sum(tensor.nbytes for tensor in inputs if tensor is not None)
    after = sum(graph.tensors[name].nbytes for name in node.outputs)
    return after <= max(_SMALL, _MAX_GROWTH * before)
