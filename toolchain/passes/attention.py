"""Simplify attention in float graphs: ``softmax(scale * q k' + mask) v`` with no needless copy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from toolchain.ir import Graph, Node, Tensor, constant
from toolchain.numerics import Activation
from toolchain.ops import Add, BatchMatMul, Mul, Softmax, Transpose
from toolchain.passes.rewriter import until_stable


def fuse_attention(graph: Graph) -> Graph:
    """Return the graph with transposed factors read as they lie, and scales in the softmax.

    A product takes a matrix whose last two axes are exchanged as it was before. Positive factors of
    the scores, before the product or behind it, become the softmax's ``beta``: no pass over memory
    and no rounding of their own. A constant mask between them is divided by them.
    """
    graph = until_stable(_behind_mask, graph)
    changed: dict[str, Node] = {}
    for node in graph.nodes:
        if isinstance(node.op, Softmax):
            changed.update(_scaled(graph, node, node.op))
    graph = graph.with_nodes(changed.get(node.name, node) for node in graph.nodes)
    return graph.with_nodes(_untransposed(graph, node) for node in graph.nodes)


def _behind_mask(graph: Graph) -> Graph:
    """Return the graph with one factor of scores moved behind a mask: ``f * (s + mask / f)``."""
    for node in graph.nodes:
        add = graph.producers.get(node.inputs[0] or "") if isinstance(node.op, Softmax) else None
        if add is None or add.op != Add() or not _private(graph, add.outputs[0]):
            continue
        for scores, mask in (add.inputs, add.inputs[::-1]):
            if made := _divided(graph, node, add, scores or "", graph.tensors[mask or ""]):
                return made
    return graph


def _divided(graph: Graph, node: Node, add: Node, scores: str, mask: Tensor) -> Graph | None:
    """Return the graph with the factor of ``scores`` in the softmax ``node``, if there is one."""
    assert isinstance(node.op, Softmax)
    factor, source = _without_factors(graph, scores)
    whole = graph.tensors[source].shape == graph.operands(add).output.shape
    if not mask.is_constant or mask.quant or source == scores or not whole:
        return None
    with np.errstate(over="ignore"):
        low = np.finfo(np.float32).min
        made = constant(f"{add.name}/mask", np.maximum(mask.values / np.float32(factor), low))
    changed = {
        add.name: replace(add, inputs=(source, made.name)),
        node.name: replace(node, op=Softmax(node.op.beta * factor)),
    }
    return graph.with_nodes((changed.get(n.name, n) for n in graph.nodes), [made])


def _untransposed(graph: Graph, node: Node) -> Node:
    """Return a product that reads its factors before an exchange of their last two axes."""
    if not isinstance(node.op, BatchMatMul):
        return node
    inputs, flags = list(node.inputs), [node.op.transpose_a, node.op.transpose_b]
    for place, name in enumerate(node.inputs):
        producer = graph.producers.get(name or "")
        if producer is None or not isinstance(producer.op, Transpose):
            continue
        rank = len(producer.op.perm)
        exchange = (*range(rank - 2), rank - 1, rank - 2)
        if producer.op.perm == exchange and _same_quant(graph, producer):
            inputs[place], flags[place] = producer.inputs[0], not flags[place]
    return replace(node, op=BatchMatMul(*flags), inputs=tuple(inputs))


def _same_quant(graph: Graph, node: Node) -> bool:
    operands = graph.operands(node)
    return operands.input(0).quant == operands.output.quant


def _scaled(graph: Graph, node: Node, op: Softmax) -> dict[str, Node]:
    """Return a softmax, and the product before it, without the factors that ``beta`` takes."""
    factor, scores = _without_factors(graph, node.inputs[0] or "")
    product = graph.producers.get(scores)
    changed = {}
    if product is not None and isinstance(product.op, BatchMatMul) and _private(graph, scores):
        parts = [_without_factors(graph, name or "", shared=True) for name in product.inputs]
        factor *= parts[0][0] * parts[1][0]
        changed[product.name] = replace(product, inputs=tuple(name for _, name in parts))
    beta = op.beta * factor
    return {**changed, node.name: replace(node, op=Softmax(beta), inputs=(scores,))}


def _private(graph: Graph, name: str) -> bool:
    """Tell whether one node reads a tensor, which carries no quantisation."""
    return graph.read_once(name) and graph.tensors[name].quant is None


def _without_factors(graph: Graph, name: str, *, shared: bool = False) -> tuple[float, str]:
    """Return a tensor's positive constant factor, and the tensor without it.

    Args:
        graph: a float graph.
        name: the tensor.
        shared: whether others may go on reading it with its factor.
    """
    factor = 1.0
    while True:
        node, tensor = graph.producers.get(name), graph.tensors[name]
        plain = node is not None and node.op == Mul(Activation.NONE) and tensor.quant is None
        if node is None or not plain or not (shared or _private(graph, name)):
            return factor, name
        for source, other in (node.inputs, node.inputs[::-1]):
            scale = graph.tensors[other or ""]
            if scale.is_constant and scale.size == 1 and scale.values.reshape(-1)[0] > 0:
                if graph.tensors[source or ""].shape != tensor.shape:
                    return factor, name
                factor, name = factor * float(scale.values.reshape(-1)[0]), source or ""
                break
        else:
            return factor, name
