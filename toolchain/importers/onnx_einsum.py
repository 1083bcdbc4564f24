"""Einsum: sums of products over named indices, as products of matrices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolchain.importers.onnx_builder import Builder, OnnxNode, UnsupportedError, Value, elements
from toolchain.ops import BatchMatMul, FullyConnected, Mean, Mul, Reshape


def einsum(node: OnnxNode) -> list[str]:
    """Einsum of one or two operands, no index twice in one of them."""
    text = str(node.attributes["equation"]).replace(" ", "")
    left, arrow, wanted = text.partition("->")
    terms = left.split(",")
    if "." in text or len(terms) > 2 or any(len(set(one)) < len(one) for one in terms):
        raise UnsupportedError(f"of the form {text[:60]}")
    if not arrow:
        wanted = "".join(sorted(c for c in set(left) - {","} if left.count(c) == 1))
    inputs = [node.value(i) for i in range(len(terms))]
    for name, term in zip(inputs, terms, strict=True):
        if len(node.build.shape(name)) != len(term):
            raise node.error(f"{term} of a tensor of rank {len(node.build.shape(name))}")
    if not set(wanted) <= set(left) or len(set(wanted)) < len(wanted):
        raise node.error(f"no such indices: {wanted}")
    reduced = [
        _summed(node.build, name, term, set(wanted).union(*(t for t in terms if t is not term)))
        for name, term in zip(inputs, terms, strict=True)
    ]
    if len(reduced) == 1:
        ((name, term),) = reduced
        made = _ordered(node.build, name, term, wanted)
        return [made if isinstance(made, str) else node.build.constant(made)]
    return [_product(node, reduced, wanted)]


Labelled = tuple[Value, str]
"""A tensor or constant, and the indices of its axes."""


def _summed(build: Builder, name: Value, term: str, kept: set[str]) -> Labelled:
    """Return a tensor summed over the indices that nobody else has."""
    axes = tuple(axis for axis, index in enumerate(term) if index not in kept)
    left = "".join(index for index in term if index in kept)
    if not axes:
        return name, term
    if not isinstance(name, str):
        return name.sum(axis=axes), left
    count = elements([build.shape(name)[axis] for axis in axes])
    mean = build.add(Mean(axes), [name])
    factor = build.constant(np.full((1,) * len(build.shape(mean)), count))
    return build.add(Mul(), [mean, factor]), left


def _ordered(build: Builder, name: Value, term: str, wanted: str) -> Value:
    order = [term.index(index) for index in wanted]
    return build.transposed(name, order) if isinstance(name, str) else name.transpose(order)


def _product(node: OnnxNode, operands: Sequence[Labelled], wanted: str) -> str:
    """Return the product of two: matrices of rows times columns, in batches of what both keep."""
    build, ((a, one), (b, two)) = node.build, operands
    sizes = {
        index: n
        for name, term in operands
        for index, n in zip(term, build.shape(name), strict=True)
    }
    for name, term in operands:
        if build.shape(name) != tuple(sizes[index] for index in term):
            raise node.error(f"{term}: an index has two sizes")
    batch = [i for i in one if i in two and i in wanted]
    summed = [i for i in one if i in two and i not in wanted]
    rows, columns = ([i for i in term if i not in batch + summed] for term in (one, two))
    lengths = [elements([sizes[i] for i in part]) for part in (batch, rows, summed, columns)]
    count, height, depth, width = lengths
    left = _matrices(build, a, one, [*batch, *rows, *summed], (count, height, depth))
    right = _matrices(build, b, two, [*batch, *summed, *columns], (count, depth, width))
    order = [*batch, *rows, *columns]
    whole = build.add(Reshape(tuple(sizes[i] for i in order)), [_matmul(build, left, right)])
    return build.transposed(whole, [order.index(index) for index in wanted])


def _matmul(build: Builder, left: Value, right: Value) -> str:
    """Return products (B, M, N) of matrices (B, M, K) and (B, K, N), by constants as a layer."""
    if isinstance(right, str) or not isinstance(left, str) or right.shape[0] > 1:
        operands = [v if isinstance(v, str) else build.constant(v) for v in (left, right)]
        return build.add(BatchMatMul(), operands)
    rows = build.add(Reshape(build.shape(left)[1:]), [left])
    return build.add(FullyConnected(), [rows, build.constant(right[0].T)])


def _matrices(
    build: Builder, name: Value, term: str, order: Sequence[str], shape: tuple[int, ...]
) -> Value:
    turned = _ordered(build, name, term, "".join(order))
    return build.add(Reshape(shape), [turned]) if isinstance(turned, str) else turned.reshape(shape)
