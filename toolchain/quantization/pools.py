"""Average pools over whole maps become means, whose outputs have a scale of their own.

An integer pool keeps the scale of its input. The average of a whole map spans a small part of that
range, so that most of the 256 levels would stand for values that never occur.
"""

from __future__ import annotations

from dataclasses import replace

from toolchain.ir import Graph, Node
from toolchain.numerics import Activation
from toolchain.ops import AveragePool2D, Mean


def global_pools_as_means(graph: Graph) -> Graph:
    """Return a float graph where no `AveragePool2D` averages a whole map."""
    return graph.with_nodes(_as_mean(graph, node) for node in graph.nodes)


def _as_mean(graph: Graph, node: Node) -> Node:
    if not isinstance(node.op, AveragePool2D):
        return node
    x, y = graph.operands(node).input(0), graph.operands(node).output
    plain = not any(node.op.pads) and node.op.activation is Activation.NONE
    if tuple(node.op.kernel) != x.shape[1:3] or not plain or (x.quant or y.quant):
        return node
    return replace(node, op=Mean((1, 2), keep_dims=True))
