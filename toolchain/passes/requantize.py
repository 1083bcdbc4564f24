"""Fold QUANTIZE and DEQUANTIZE nodes where that is exact."""

from __future__ import annotations

from dataclasses import replace

from toolchain.ir import DType, Graph, Node, Tensor
from toolchain.ops import Dequantize, Quantize
from toolchain.passes.rewriter import Rewriter


def fold_requantisation(graph: Graph) -> Graph:
    """Return the graph with fewer steps between quantisations.

    * A shift (uint8 to int8 and back: all real values stay) before a QUANTIZE or DEQUANTIZE goes,
      as both compute from ``q - zero_point``.
    * A QUANTIZE back to the quantisation that a DEQUANTIZE came from goes: the rounding errors of
      two float32 operations stay far below half a step for values of 8 bits.
    """
    rewriter = Rewriter(graph)
    for node in graph.nodes:
        before = graph.producers.get(node.inputs[0] or "")
        if before is None or before.inputs[0] is None:
            continue
        x, y = graph.operands(before).input(0), graph.operands(node).outputs[0]
        if isinstance(node.op, Quantize | Dequantize) and _is_shift(graph, before):
            rewriter.replace(node, replace(node, inputs=(x.name,)))
        elif isinstance(node.op, Quantize) and isinstance(before.op, Dequantize):
            back = _is_narrow(x) and x.dtype == y.dtype and x.quant == y.quant
            if back:
                rewriter.forward(node, x.name)
    return rewriter.result()


def _is_shift(graph: Graph, node: Node) -> bool:
    """Tell whether a QUANTIZE keeps every real value: the scale stays and nothing saturates."""
    x, y = graph.operands(node).input(0), graph.operands(node).outputs[0]
    if not isinstance(node.op, Quantize) or not (_is_narrow(x) and _is_narrow(y)):
        return False
    ranges = [tuple(limit - t.zero_point for limit in t.dtype.limits) for t in (x, y)]
    return x.scale == y.scale and ranges[0] == ranges[1]


def _is_narrow(tensor: Tensor) -> bool:
    return tensor.dtype in (DType.INT8, DType.UINT8) and tensor.quant is not None
