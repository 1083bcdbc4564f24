"""Let fully connected layers read maps as they are."""

from __future__ import annotations

from toolchain.ir import Graph
from toolchain.ops import FullyConnected, Reshape
from toolchain.passes.rewriter import Rewriter


def drop_flattening(graph: Graph) -> Graph:
    """Return the graph without views between a map of several rows and fully connected layers.

    These take any shape, and a map can come row by row (`toolchain.ops.base.Op.fold`). A view that
    anything else reads stays.
    """
    rewriter = Rewriter(graph)
    for node in graph.nodes:
        if not isinstance(node.op, Reshape) or node.inputs[0] is None:
            continue
        operands = graph.operands(node)
        x, y = operands.input(0), operands.output
        several = len(x.shape) == 4 and x.shape[0] == 1 and x.shape[1] > 1
        readers = graph.consumers[y.name]
        flat = all(
            isinstance(reader.op, FullyConnected) and not reader.op.keep_dims for reader in readers
        )
        if several and readers and flat and x.quant == y.quant and y.name not in graph.sinks:
            rewriter.forward(node, node.inputs[0])
    return rewriter.result()
