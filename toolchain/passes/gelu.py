"""Fuse GELU, where a file spells it out with an error function or a hyperbolic tangent.

Exporters write the sums and products around the function in any order and grouping. So they are
multiplied out: both forms are one polynomial in x and the function's value, which is compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

from toolchain.ir import Graph, Node, Tensor
from toolchain.numerics import Activation
from toolchain.ops import Add, Erf, Gelu, Mul, Sub, Tanh
from toolchain.passes.rewriter import Rewriter

Polynomial = Mapping[tuple[str, ...], float]
"""Coefficients by monomials: the names of a product's factors, sorted."""

_DEEP = 6  # nodes between the function and either end of the pattern
_MOST_TERMS = 8
_CLOSE = 1e-3


def fuse_gelu(graph: Graph) -> Graph:
    """Return a float graph with ``x / 2 * (1 + erf(x / sqrt(2)))`` and its like as one operator."""
    rewriter = Rewriter(graph)
    for node in graph.nodes:
        if isinstance(node.op, Erf | Tanh):
            found = _gelu(graph, node)
            if found is not None:
                x, end = found
                op = Gelu(approximate=isinstance(node.op, Tanh))
                rewriter.replace(end, replace(end, op=op, inputs=(x,)))
    return rewriter.result()


def _gelu(graph: Graph, node: Node) -> tuple[str, Node] | None:
    """Return x and the last node of the pattern around ``node``, if it is there."""
    inner, value = node.inputs[0] or "", node.outputs[0]
    for x in _operands(graph, inner, _DEEP):
        first, third = math.sqrt(2 / math.pi), math.sqrt(2 / math.pi) * 0.044715
        argument = {(x,): first, (x, x, x): third}
        if isinstance(node.op, Erf):
            argument = {(x,): math.sqrt(0.5)}
        if not _close(_expanded(graph, inner, {x}), argument):
            continue
        wanted = {(x,): 0.5, tuple(sorted((x, value))): 0.5}
        for end in _users(graph, value, _DEEP):
            if _close(_expanded(graph, end.outputs[0], {x, value}), wanted):
                return x, end
    return None


def _operands(graph: Graph, name: str, depth: int) -> Iterator[str]:
    """Yield the tensors that ``name`` is a sum or product of, however deep."""
    node = _sum_or_product(graph, name)
    if node is None or not depth:
        yield name
        return
    for one in dict.fromkeys(node.inputs):
        if one is not None and not graph.tensors[one].is_constant:
            yield one
            yield from _operands(graph, one, depth - 1)


def _users(graph: Graph, name: str, depth: int) -> Iterator[Node]:
    """Yield the sums and products that ``name`` goes into, however deep."""
    for node in graph.consumers[name] if depth else ():
        if isinstance(node.op, Add | Mul | Sub) and node.op.activation is Activation.NONE:
            yield node
            yield from _users(graph, node.outputs[0], depth - 1)


def _sum_or_product(graph: Graph, name: str) -> Node | None:
    """Return the node that makes ``name`` if it is one that can be multiplied out."""
    node = graph.producers.get(name)
    if node is None or not isinstance(node.op, Add | Mul | Sub):
        return None
    exact = node.op.activation is Activation.NONE and graph.tensors[name].quant is None
    return node if exact else None


def _expanded(graph: Graph, name: str, atoms: set[str], depth: int = _DEEP) -> Polynomial:
    """Return a tensor multiplied out, down to ``atoms`` and what is no sum or product.

    The tensor itself is multiplied out even if it carries a quantisation: the fused one will.
    """
    if name in atoms:
        return {(name,): 1.0}
    number = _number(graph.tensors[name])
    if number is not None:
        return {(): number}
    node = graph.producers[name] if depth == _DEEP else _sum_or_product(graph, name)
    if node is None or not depth:
        return {(name,): 1.0}
    a, b = (_expanded(graph, one or "", atoms, depth - 1) for one in node.inputs)
    if isinstance(node.op, Mul):
        made = _product(a, b)
    else:
        sign = 1.0 if isinstance(node.op, Add) else -1.0
        made = {k: a.get(k, 0.0) + sign * b.get(k, 0.0) for k in {**a, **b}}
    return made if len(made) <= _MOST_TERMS else {(name,): 1.0}


def _product(a: Polynomial, b: Polynomial) -> Polynomial:
    made: dict[tuple[str, ...], float] = {}
    for first, left in a.items():
        for second, right in b.items():
            key = tuple(sorted((*first, *second)))
            made[key] = made.get(key, 0.0) + left * right
    return made


def _number(tensor: Tensor) -> float | None:
    """Return the value of a constant of one element."""
    plain = tensor.is_constant and tensor.quant is None and tensor.size == 1
    return float(tensor.values.reshape(-1)[0]) if plain else None


def _close(a: Polynomial, b: Polynomial) -> bool:
    return a.keys() == b.keys() and all(abs(a[k] - b[k]) <= _CLOSE * abs(b[k]) for k in b)
