"""Let convolutions and pools do the padding that a PAD node did before them."""

from __future__ import annotations

from dataclasses import replace

from toolchain.errors import ModelError
from toolchain.ir import Graph, Node, Operands
from toolchain.ops import Conv2D, DepthwiseConv2D, MaxPool2D, Op, Pad
from toolchain.ops.spatial import Pads
from toolchain.passes.rewriter import Rewriter


def fold_padding(graph: Graph) -> Graph:
    """Return the graph without PAD nodes whose readers can pad by themselves, exactly.

    A convolution pads with its input's zero point. A maximum pool leaves padding out, which is
    what the least value does. An average pool leaves padding out of its count: never the same.
    """
    rewriter = Rewriter(graph)
    for node in graph.nodes:
        if not isinstance(node.op, Pad) or set(node.outputs) & set(graph.sinks):
            continue
        readers = graph.consumers[node.outputs[0]]
        padded = [_padded(graph, node, node.op, reader) for reader in readers]
        source = node.inputs[0]
        if source is None or not readers or None in padded:
            continue
        if rewriter.forward(node, source):
            for reader, op in zip(readers, padded, strict=True):
                if op is not None:
                    rewriter.replace(reader, replace(reader, op=op))
    return rewriter.result()


def _padded(graph: Graph, node: Node, pad: Pad, reader: Node) -> Op | None:
    """Return the reader's operator with the padding of ``pad``, ``None`` if that is not exact."""
    op, operands = reader.op, graph.operands(node)
    x, y = operands.input(0), operands.output
    if not isinstance(op, Conv2D | DepthwiseConv2D | MaxPool2D) or reader.inputs[0] != y.name:
        return None
    is_spatial = len(x.shape) == 4 and not any(pad.before[i] or pad.after[i] for i in (0, 3))
    if not is_spatial or x.quant is None or x.quant != y.quant:
        return None
    neutral = x.dtype.limits[0] if isinstance(op, MaxPool2D) else x.zero_point
    if pad.border(operands) != neutral:
        return None
    wider = replace(op, pads=_sum(op.pads, pad))
    mine = graph.operands(reader)
    return wider if _is_legal(wider, replace(mine, inputs=(x, *mine.inputs[1:]))) else None


def _sum(pads: Pads, pad: Pad) -> Pads:
    (top, left), (bottom, right) = pad.before[1:3], pad.after[1:3]
    return Pads(pads.top + top, pads.bottom + bottom, pads.left + left, pads.right + right)


def _is_legal(op: Op, operands: Operands) -> bool:
    try:
        op.infer(operands)
    except ModelError:
        return False
    return True
