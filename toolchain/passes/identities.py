"""Remove nodes that change nothing, and turn moves that keep the order of bytes into views."""

from __future__ import annotations

from dataclasses import replace

from toolchain.ir import Graph, Node, Operands, Tensor
from toolchain.ops import (
    Concat,
    Gather,
    Pad,
    Quantize,
    Reshape,
    ResizeNearest,
    Split,
    StridedSlice,
    Transpose,
)
from toolchain.passes.rewriter import Rewriter

# With outputs of their input's shape, these return their first input's elements as they are.
_MOVES = (Concat, Pad, Quantize, Reshape, ResizeNearest, Split)


def remove_identities(graph: Graph) -> Graph:
    """Return the graph without padding by nothing, reshaping to the same shape and their like.

    The tensors before and behind must agree in quantisation, as their readers go by it.
    """
    rewriter = Rewriter(graph)
    for node in graph.nodes:
        operands = graph.operands(node)
        if _is_identity(node, operands) and node.inputs[0] is not None:
            rewriter.forward(node, node.inputs[0])
    return rewriter.result()


def transposes_to_views(graph: Graph) -> Graph:
    """Return the graph with transposes that only move axes of size 1 as reshapes: no copy."""
    rewriter = Rewriter(graph)
    for node in graph.nodes:
        if isinstance(node.op, Transpose) and keeps_order(graph.operands(node).input(0), node.op):
            shape = graph.operands(node).output.shape
            rewriter.replace(node, replace(node, op=Reshape(shape)))
    return rewriter.result()


def keeps_order(x: Tensor, op: Transpose) -> bool:
    """Tell whether the elements of ``x`` stay in their order in memory."""
    long_axes = [axis for axis in op.perm if x.shape[axis] > 1]
    return long_axes == sorted(long_axes)


def same_type(x: Tensor, y: Tensor) -> bool:
    """Tell whether one tensor can stand for the other: shape, element type, quantisation."""
    return x.shape == y.shape and x.dtype == y.dtype and x.quant == y.quant


def _is_identity(node: Node, operands: Operands) -> bool:
    op = node.op
    if len(operands.outputs) != 1 or not same_type(operands.input(0), operands.output):
        return False
    match op:
        case Transpose():
            return keeps_order(operands.input(0), op)
        case StridedSlice():
            return all(stride > 0 for stride in op.strides) and not op.shrink
        case Concat():
            return len(operands.inputs) == 1
        case Gather():
            return op.indices == tuple(range(len(op.indices)))
        case _:
            return isinstance(op, _MOVES)
