"""Fuse layer normalisation, where a file spells it out with means, squares and a root."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from toolchain.ir import Graph, Node, Tensor, constant
from toolchain.numerics import Activation
from toolchain.ops import (
    Add,
    LayerNorm,
    Mean,
    Mul,
    Reshape,
    Rsqrt,
    SquaredDifference,
    Sub,
    Transpose,
)
from toolchain.passes.centring import centre_first
from toolchain.passes.rewriter import Rewriter, until_stable


def fuse_layer_norm(graph: Graph) -> Graph:
    """Return a float graph with ``(x - mean) / sqrt(variance + epsilon)`` as one operator.

    The factor and offset per element that follow become its gain and offset. Axes before the last
    are brought there by transposes, several by a reshape.
    """
    return _absorb_constants(_fuse(centre_first(graph)))


def _fuse(graph: Graph) -> Graph:
    nodes: list[Node] = []
    added: list[Tensor] = []
    for node in graph.nodes:
        found = _normalised(graph, node)
        made = _spelled(graph, node, *found) if found else ([node], [])
        nodes += made[0]
        added += made[1]
    return graph.with_nodes(nodes, added)


def _normalised(graph: Graph, node: Node) -> tuple[str, tuple[int, ...], float] | None:
    """Return x, axes and epsilon if ``node`` is ``d * rsqrt(mean(d * d) + epsilon)``."""
    factors = _factors(graph, node)
    for centred, root in (factors, factors[::-1]):
        inverse = graph.producers.get(root)
        found = _centred(graph, centred)
        if found is None or inverse is None or not isinstance(inverse.op, Rsqrt):
            continue
        x, axes = found
        variance, epsilon = _less_constant(graph, inverse.inputs[0] or "")
        mean = graph.producers.get(variance)
        if mean is None or mean.op != Mean(axes, keep_dims=True):
            continue
        square = graph.producers.get(mean.inputs[0] or "")
        if square is not None and _is_square(graph, square, found):
            return x, axes, epsilon
    return None


def _is_square(graph: Graph, node: Node, found: tuple[str, tuple[int, ...]]) -> bool:
    """Tell whether ``node`` squares x less its mean, which is ``found``."""
    if not isinstance(node.op, SquaredDifference):
        return all(_centred(graph, part) == found for part in _factors(graph, node))
    first, second = node.inputs
    pairs = ((first, second), (second, first))
    return any(_is_mean(graph, x, mean, found) for x, mean in pairs)


def _is_mean(
    graph: Graph, x: str | None, mean: str | None, found: tuple[str, tuple[int, ...]]
) -> bool:
    """Tell whether ``mean`` is that of ``x`` over its axes, which are ``found``."""
    maker = graph.producers.get(mean or "")
    return (
        maker is not None
        and maker.inputs == (x,)
        and (x, maker.op)
        == (
            found[0],
            Mean(found[1], keep_dims=True),
        )
    )


def _factors(graph: Graph, node: Node) -> tuple[str, str]:
    """Return the factors of a product of computed tensors, empty names if it is none."""
    plain = isinstance(node.op, Mul) and node.op.activation is Activation.NONE
    if not plain or len(graph.operands(node).activations) != 2:
        return "", ""
    first, second = node.inputs
    return first or "", second or ""


def _centred(graph: Graph, name: str) -> tuple[str, tuple[int, ...]] | None:
    """Return x and axes if ``name`` is x less its mean over these axes."""
    node = graph.producers.get(name)
    if node is None or not isinstance(node.op, Sub) or graph.tensors[name].quant is not None:
        return None
    x, mean = node.inputs[0] or "", graph.producers.get(node.inputs[1] or "")
    if mean is None or not isinstance(mean.op, Mean) or mean.inputs != (x,):
        return None
    return (x, mean.op.axes) if mean.op.keep_dims else None


def _less_constant(graph: Graph, name: str) -> tuple[str, float]:
    """Return a sum's computed part and its constant of one value, 0 where there is none."""
    node = graph.producers.get(name)
    if node is None or node.op != Add():
        return name, 0.0
    for part, other in (node.inputs, node.inputs[::-1]):
        tensor = graph.tensors[other or ""]
        if tensor.is_constant and tensor.size == 1:
            return part or "", max(0.0, float(tensor.values.reshape(-1)[0]))
    return name, 0.0


def _spelled(
    graph: Graph, node: Node, x: str, axes: tuple[int, ...], epsilon: float
) -> tuple[list[Node], list[Tensor]]:
    """Return the nodes that normalise ``x`` over ``axes`` in the place of ``node``."""
    shape, y = graph.tensors[x].shape, graph.operands(node).output
    rank = len(shape)
    order = (*(axis for axis in range(rank) if axis not in axes), *axes)
    moved = tuple(shape[axis] for axis in order)
    rows = (*moved[: rank - len(axes)], int(np.prod([shape[axis] for axis in axes])))
    back = tuple(int(axis) for axis in np.argsort(order))
    steps = [
        (Transpose(order), moved), (Reshape(rows), rows), (LayerNorm(epsilon), rows),
        (Reshape(moved), moved), (Transpose(back), shape),
    ]  # fmt: skip
    # A reshape to the same shape and a transpose to the same order are left out.
    needed = [order != back or order != tuple(range(rank)), len(axes) != 1]
    steps = [one for one, keep in zip(steps, [*needed, True, *needed[::-1]], strict=True) if keep]
    nodes, added = [], []
    for number, (op, made) in enumerate(steps):
        last = number == len(steps) - 1
        output = y if last else Tensor(f"{y.name}/{number}", made, y.dtype)
        name = node.name if last else f"{node.name}/{number}"
        nodes.append(Node(name, op, (x,), (output.name,)))
        added += [] if last else [output]
        x = output.name
    return nodes, added


def _absorb_constants(graph: Graph) -> Graph:
    """Return the graph with factors and offsets behind layer normalisation as its own."""
    return until_stable(_absorb_first, graph)


def _absorb_first(graph: Graph) -> Graph:
    for node in graph.nodes:
        if not isinstance(node.op, Mul | Add) or node.op.activation is not Activation.NONE:
            continue
        for source, other in (node.inputs, node.inputs[::-1]):
            norm = graph.producers.get(source or "")
            if norm is None or not _takes(graph, norm, node, graph.tensors[other or ""]):
                continue
            values = graph.tensors[other or ""].values.reshape(-1)
            rewriter = Rewriter(graph)
            if rewriter.forward(node, norm.outputs[0]):
                depth = graph.tensors[norm.outputs[0]].shape[-1]
                label = "gain" if isinstance(node.op, Mul) else "offset"
                made = constant(f"{norm.name}/{label}", np.broadcast_to(values, (depth,)).copy())
                gain = made.name if label == "gain" else (*norm.inputs[1:], None)[0]
                inputs = (norm.inputs[0], gain, *([made.name] if label == "offset" else []))
                rewriter.replace(norm, replace(norm, inputs=inputs), [made])
                return rewriter.result()
    return graph


def _takes(graph: Graph, norm: Node, node: Node, other: Tensor) -> bool:
    """Tell whether ``other``, which ``node`` applies to what ``norm`` makes, can be its own."""
    if not isinstance(norm.op, LayerNorm):
        return False
    made = graph.operands(norm).output
    alone = graph.read_once(made.name)
    place = 1 if isinstance(node.op, Mul) else 2
    free = len(norm.inputs) <= place and made.quant is None
    along = other.size == 1 or other.shape[-1:] == (other.size,) == made.shape[-1:]
    same = graph.operands(node).output.shape == made.shape
    return alone and free and same and along and other.is_constant and other.quant is None
