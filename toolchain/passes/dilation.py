"""Dilated convolutions that a file spells out as ones on interleaved parts of a map.

A map is dealt out to batches, each takes an ordinary convolution, and the results are put together
again (TensorFlow, ``tf.nn.with_space_to_batch``). One convolution with dilation is the same, value
by value, without two copies of the map.
"""

from __future__ import annotations

from dataclasses import replace

from toolchain.importers.spelled import Chain, batch_to_space, space_to_batch
from toolchain.ir import Graph, Node, Tensor
from toolchain.ops import Conv2D, DepthwiseConv2D, Op, Pad, Reshape, StridedSlice, Transpose
from toolchain.ops.spatial import Pads
from toolchain.passes.rewriter import Rewriter

Pair = tuple[int, int]
_Conv = Conv2D | DepthwiseConv2D


def fold_dilation(graph: Graph) -> Graph:
    """Return the graph with a dilated convolution for every one between blocks of batches."""
    rewriter = Rewriter(graph)
    for node in graph.nodes:
        if isinstance(node.op, _Conv) and node.op.stride == (1, 1):
            ahead, behind = _ahead(graph, node), _behind(graph, node)
            made = _dilated(graph, node, node.op, ahead, behind) if ahead and behind else None
            if made is not None:
                for one in (*ahead, node, *behind[:-1]):
                    rewriter.fold(one, ())
                rewriter.replace(behind[-1], made)
    return rewriter.result()


def _dilated(
    graph: Graph, node: Node, op: _Conv, ahead: list[Node], behind: list[Node]
) -> Node | None:
    """Return the convolution of the whole map, ``None`` if there is none of the same values."""
    block = _block(graph.operands(ahead[-1]).input(0).shape)
    x, y = graph.operands(ahead[0]).input(0), graph.operands(behind[-1]).output
    inner = graph.operands(node)
    before, after = _padding(ahead[0].op)
    cut, cut_after = _crops(behind[-1].op, y, inner.output, block)
    dealt = space_to_batch(x.shape, block, before, after)
    joined = batch_to_space(inner.output.shape, block, cut, cut_after)
    same = _is(ahead, dealt) and _is(behind, joined) and min((*cut, *cut_after)) >= 0
    alike = x.quant == inner.input(0).quant and y.quant == inner.output.quant
    if not same or not alike:
        return None
    wide = replace(op, dilation=(op.dilation[0] * block[0], op.dilation[1] * block[1]))
    pads = _pads(wide, op.pads, block, before, cut, (x, y, inner.input(1)))
    if min(pads) < 0:
        return None
    return replace(
        node, op=replace(wide, pads=pads), inputs=(x.name, *node.inputs[1:]), outputs=(y.name,)
    )


def _pads(
    op: _Conv, inner: Pads, block: Pair, before: Pair, cut: Pair, maps: tuple[Tensor, ...]
) -> Pads:
    """Return the padding of the whole map with which ``op`` makes all rows and columns."""
    x, y, weights = maps
    near = [
        low + pad * b - c for low, pad, b, c in zip(before, inner[::2], block, cut, strict=True)
    ]
    extent = [(n - 1) * d + 1 for n, d in zip(weights.shape[1:3], op.dilation, strict=True)]
    sizes = zip(y.shape[1:3], extent, x.shape[1:3], near, strict=True)
    far = [out - 1 + reach - size - low for out, reach, size, low in sizes]
    return Pads(near[0], far[0], near[1], far[1])


def _ahead(graph: Graph, node: Node) -> list[Node]:
    """Return the nodes that may deal out the input of ``node``, the first one first."""
    found: list[Node] = []
    name, kinds = node.inputs[0] or "", [Reshape, Transpose, Reshape, Pad]
    for kind in kinds:
        maker = graph.producers.get(name)
        if maker is None or not isinstance(maker.op, kind) or not graph.read_once(name):
            break
        found.insert(0, maker)
        name = maker.inputs[0] or ""
    known = len(found) >= len(kinds) - 1
    return found if known and len(graph.operands(found[-1]).input(0).shape) == 6 else []


def _behind(graph: Graph, node: Node) -> list[Node]:
    """Return the nodes that may join the output of ``node``."""
    found: list[Node] = []
    name, kinds = node.outputs[0], [Reshape, Transpose, Reshape, StridedSlice]
    for kind in kinds:
        readers = graph.consumers.get(name, ())
        if len(readers) != 1 or not isinstance(readers[0].op, kind) or not graph.read_once(name):
            break
        found.append(readers[0])
        name = readers[0].outputs[0]
    return found if len(found) >= len(kinds) - 1 else []


def _block(shape: tuple[int, ...]) -> Pair:
    """Return the size of blocks from the shape (B, B, N, H, W, C) of a map taken apart."""
    return shape[0], shape[1]


def _padding(op: Op) -> tuple[Pair, Pair]:
    if not isinstance(op, Pad):
        return (0, 0), (0, 0)
    return (op.before[1], op.before[2]), (op.after[1], op.after[2])


def _crops(op: Op, y: Tensor, made: Tensor, block: Pair) -> tuple[Pair, Pair]:
    """Return what is cut off in front of rows and columns, and behind them."""
    if not isinstance(op, StridedSlice) or len(y.shape) != 4:
        return (0, 0), (0, 0)
    whole = made.shape[1] * block[0], made.shape[2] * block[1]
    return (op.begin[1], op.begin[2]), (whole[0] - op.end[1], whole[1] - op.end[2])


def _is(nodes: list[Node], chain: Chain) -> bool:
    return tuple(node.op for node in nodes) == chain
