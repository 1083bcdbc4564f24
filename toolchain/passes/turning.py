"""Exchange rows and columns of a network's maps, so that it takes its images column by column.

A stream keeps whole rows. Where maps are wider than high their columns are shorter, and a network
that watches a band of frequencies may have its frames as columns: both are served by the network
that sees the image turned. Kernels, strides and pads of its windows are exchanged; its results
stay the same, bit by bit.
"""

from __future__ import annotations

from dataclasses import replace

from toolchain.ir import Graph, Operands
from toolchain.ops import Conv2D, DepthwiseConv2D, Op, TransposeConv
from toolchain.ops.pool import Pool
from toolchain.ops.resize import Resize
from toolchain.ops.spatial import Pads
from toolchain.passes.layout import exchanged_input
from toolchain.passes.permuted import Change, Perm, permuted_op
from toolchain.passes.transposes import sunk_transposes

_TURN = (0, 2, 1, 3)


def turned_inputs(graph: Graph) -> Graph:
    """Return the graph with each input (N, H, W, C) exchanged for one (N, W, H, C).

    Inputs keep their names, outputs their order of axes: a map that the network returns is
    transposed at its end. Inputs of another rank, or of a single row or column, stay.
    """
    for name in graph.inputs:
        shape = graph.tensors[name].shape
        if len(shape) == 4 and min(shape[1:3]) > 1:
            graph = exchanged_input(graph, name, _TURN)
    return sunk_transposes(graph, _turned)


def _turned(op: Op, operands: Operands, perm: Perm) -> Change | None:
    """Return the change of ``op``, also of one that slides over maps: see `permuted_op`."""
    turned = _exchanged(op) if perm == _TURN else None
    return Change(turned, perm) if turned else permuted_op(op, operands, perm)


def _exchanged(op: Op) -> Op | None:
    """Return an operator on maps for rows and columns exchanged, in its weights as well."""
    match op:
        case Conv2D() | DepthwiseConv2D():
            dilation = op.dilation[::-1]
            return replace(op, stride=op.stride[::-1], dilation=dilation, pads=_pads(op.pads))
        case TransposeConv():
            return replace(op, stride=op.stride[::-1], pads=_pads(op.pads))
        case Pool():
            kernel = op.kernel[::-1]
            return replace(op, kernel=kernel, stride=op.stride[::-1], pads=_pads(op.pads))
        case Resize():
            return replace(op, size=op.size[::-1])
    return None


def _pads(pads: Pads) -> Pads:
    return Pads(pads.left, pads.right, pads.top, pads.bottom)
