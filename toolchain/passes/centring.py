"""Normalisation by a factor and an offset that are computed, as Keras and TensorFlow write it.

``tf.nn.batch_normalization`` computes ``f = gain / sqrt(variance + epsilon)`` first, and then
``x * f + (offset - mean * f)``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from toolchain.ir import Graph, Node, Tensor
from toolchain.ops import Add, Mean, Mul, Op, Rsqrt, Sub
from toolchain.passes.rewriter import until_stable


class _Normalised(NamedTuple):
    """The parts of a normalisation; names of tensors, ``None`` where there is no such part."""

    x: str
    mean: str
    root: str
    gain: str | None
    offset: str | None


def centre_first(graph: Graph) -> Graph:
    """Return a float graph with ``(x - mean) * root * gain + offset`` in the place of such sums."""
    return until_stable(_rewrite_first, graph)


def _rewrite_first(graph: Graph) -> Graph:
    for node in graph.nodes:
        found = _normalised(graph, node)
        if found is not None:
            nodes, tensors = _centred(graph, node, found)
            kept = [new for n in graph.nodes for new in (nodes if n is node else [n])]
            return graph.with_nodes(kept, tensors)
    return graph


def _normalised(graph: Graph, node: Node) -> _Normalised | None:
    """Return the parts if ``node`` is ``x * f + (offset - mean * f)``, or without an offset."""
    if node.op == Sub():
        return _parts(graph, node.inputs[0], node.inputs[1], None)
    if node.op != Add():
        return None
    for product, rest in (node.inputs, node.inputs[::-1]):
        less = graph.producers.get(rest or "")
        if less is None or less.op != Sub() or not graph.tensors[less.inputs[0] or ""].is_constant:
            continue
        if found := _parts(graph, product, less.inputs[1], less.inputs[0]):
            return found
    return None


def _parts(
    graph: Graph, product: str | None, means: str | None, offset: str | None
) -> _Normalised | None:
    for x, factor in _factors(graph, product):
        for mean, other in _factors(graph, means):
            maker = graph.producers.get(mean)
            if other != factor or maker is None or maker.inputs != (x,):
                continue
            if not isinstance(maker.op, Mean) or not maker.op.keep_dims:
                continue
            for root, gain in _roots(graph, factor):
                return _Normalised(x, mean, root, gain, offset)
    return None


def _roots(graph: Graph, factor: str) -> list[tuple[str, str | None]]:
    """Return an inverse root and its constant gain, if ``factor`` is their product or the root."""
    candidates: list[tuple[str, str | None]] = [(factor, None)]
    candidates += [
        (root, gain) for root, gain in _factors(graph, factor) if graph.tensors[gain].is_constant
    ]
    makers = {root: graph.producers.get(root) for root, _ in candidates}
    return [
        (root, gain)
        for root, gain in candidates
        if (maker := makers[root]) is not None and isinstance(maker.op, Rsqrt)
    ]


def _factors(graph: Graph, name: str | None) -> list[tuple[str, str]]:
    """Return the factors of a product in both orders, nothing if it is none."""
    node = graph.producers.get(name or "")
    if node is None or node.op != Mul() or graph.tensors[name or ""].quant is not None:
        return []
    first, second = (one or "" for one in node.inputs)
    return [(first, second), (second, first)]


def _centred(graph: Graph, node: Node, found: _Normalised) -> tuple[list[Node], list[Tensor]]:
    """Return the nodes that compute the same around the mean."""
    steps: list[tuple[Op, str]] = [(Sub(), found.mean), (Mul(), found.root)]
    factors: tuple[tuple[Op, str | None, int], ...]
    factors = ((Mul(), found.gain, 1), (Add(), found.offset, 0))
    for factor, name, neutral in factors:
        if name is not None and np.any(graph.tensors[name].values != neutral):
            steps.append((factor, name))
    y, x = graph.operands(node).output, found.x
    nodes, tensors = [], []
    for number, (op, other) in enumerate(steps):
        last = number == len(steps) - 1
        output = y if last else Tensor(f"{y.name}/{number}", y.shape, y.dtype)
        name = node.name if last else f"{node.name}/{number}"
        nodes.append(Node(name, op, (x, other), (output.name,)))
        tensors += [] if last else [output]
        x = output.name
    return nodes, tensors
