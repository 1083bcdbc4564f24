"""Attention and its masks: ``softmax(scale * query key' + mask) value``."""

from __future__ import annotations

import math

import numpy as np

from toolchain.importers.onnx_builder import OnnxNode, UnsupportedError, Value
from toolchain.ir import Array
from toolchain.ops import Add, BatchMatMul, Concat, Mul, Reshape, Softmax, Tanh, Transpose

LOWEST = float(np.finfo(np.float32).min)
_MASKING = -1e4  # what a file writes at most where it means minus infinity


def finite(value: Value) -> Value:
    """Return a constant with the lowest float in place of minus infinity, others as they are."""
    if isinstance(value, str) or value.dtype.kind != "f":
        return value
    return np.asarray(np.maximum(value, LOWEST))


def additive(mask: Value) -> Value:
    """Return what is added to scores: constant truth values allow 0, others are added as given.

    Raises:
        UnsupportedError: for a row that allows nothing, whose softmax is not defined.
    """
    if isinstance(mask, str):
        return mask
    if mask.dtype == np.bool_:
        mask = np.where(mask, np.float32(0), np.float32(LOWEST))
    if mask.ndim and np.any(mask.max(axis=-1) <= LOWEST):
        raise UnsupportedError("with a mask that leaves a row nothing to attend to")
    return finite(mask)


def where(node: OnnxNode) -> list[str]:
    """Where, with a constant condition: ``x * c + y * (1 - c)``; a mask is only added."""
    build, chosen, other = node.build, node.value(1), node.value(2)
    condition = node.needed(0).astype(np.float32)
    opposite = 1 - condition
    for x, fill, keep in ((chosen, other, condition), (other, chosen, opposite)):
        whole = np.broadcast_shapes(build.shape(x), build.shape(fill), keep.shape)
        if isinstance(x, str) and np.all(keep) and build.shape(x) == whole:
            return [x]
        if isinstance(x, str) and not isinstance(fill, str) and np.all(fill <= _MASKING):
            added = np.where(keep, np.float32(0), finite(fill))
            return [build.add(Add(), build.broadcast([x, added]))]
    parts = [
        _kept(node, value, keep) for value, keep in ((chosen, condition), (other, 1 - condition))
    ]
    return [build.add(Add(), build.broadcast(parts))]


def _kept(node: OnnxNode, value: Value, keep: Array) -> Value:
    """Return ``value`` where ``keep`` is 1, and 0 elsewhere."""
    if isinstance(value, str):
        return node.build.add(Mul(), node.build.broadcast([value, keep]))
    return np.where(keep, value, np.float32(0))


def attention(node: OnnxNode) -> list[str]:
    """Attention of opset 23, on (N, heads, T, C) or (N, T, heads * C).

    Keys and values of the past go in front of those of now; the file takes and returns them.
    """
    extra = node.attributes
    if len(node.outputs) > 3:
        raise UnsupportedError("with scores as output")
    if any(value is not None for value in node.inputs[6:]):
        raise UnsupportedError("with lengths of what is not padding")
    query, key, value = (node.tensor(i) for i in range(3))
    flat = len(node.shape(0)) == 3 and "q_num_heads" in extra
    if flat:
        heads = [int(extra[f"{kind}_num_heads"]) for kind in ("q", "kv", "kv")]
        query, key, value = (
            _split_heads(node, *pair) for pair in zip((query, key, value), heads, strict=True)
        )
    given = [*node.inputs[3:], None, None, None][:3]
    key, value = (_behind_past(node, *pair) for pair in zip((key, value), given[1:], strict=True))
    mask, before = given[0], node.build.shape(key)[-2] - node.shape(1)[-2]
    if extra.get("is_causal"):
        mask = _causal(node, node.build.shape(query)[-2], node.build.shape(key)[-2], before, mask)
    scale, cap = float(extra.get("scale", 0.0)), float(extra.get("softcap", 0.0))
    made = attend(node, (query, key, value), mask, scale, cap)
    return [_join_heads(node, made) if flat else made, key, value]


def _behind_past(node: OnnxNode, x: str, past: Value | None) -> str:
    """Return keys or values behind those of the past, (N, heads, T, C) both."""
    if past is None:
        return x
    known = past if isinstance(past, str) else node.build.constant(past)
    return node.build.add(Concat(len(node.build.shape(x)) - 2), [known, x])


def _causal(node: OnnxNode, queries: int, keys: int, before: int, mask: Value | None) -> Value:
    """Return a mask that keeps every query from the keys behind it, of which some are past."""
    past = np.tri(queries, keys, before, dtype=np.bool_)
    if mask is None:
        return past
    if isinstance(mask, str):
        both = node.build.broadcast([mask, np.where(past, np.float32(0), np.float32(_MASKING))])
        return node.build.add(Add(), both)
    added = additive(mask)
    assert not isinstance(added, str)
    return np.where(past, added, np.float32(LOWEST))


def attend(
    node: OnnxNode,
    operands: tuple[str, str, str],
    mask: Value | None,
    scale: float = 0.0,
    cap: float = 0.0,
) -> str:
    """Return attention of queries to keys and values, (..., heads, T, C) each.

    Where several heads of queries share one of keys, they are the rows of one matrix.

    Args:
        node: of the file.
        operands: queries, keys and values.
        mask: truth values, or what is added to the scores.
        scale: of the scores; 0 for one over the root of C.
        cap: what scores come near to at most, by a hyperbolic tangent; 0 for no bound.
    """
    build, (query, key, value) = node.build, operands
    shape, keys = build.shape(query), build.shape(key)
    scores_shape = (*shape[:-1], keys[-2])
    shared = len(shape) > 2 and shape[-3] != keys[-3]
    if shared:
        if shape[-3] % keys[-3]:
            raise UnsupportedError(f"of {shape[-3]} heads of queries to {keys[-3]} of keys")
        rows = shape[-3] // keys[-3] * shape[-2]
        query = build.add(Reshape((*shape[:-3], keys[-3], rows, shape[-1])), [query])
    scores = build.add(BatchMatMul(transpose_b=True), [query, key])
    if shared:
        scores = build.add(Reshape(scores_shape), [scores])
    factor = build.constant(np.full((1,) * len(shape), scale or 1 / math.sqrt(shape[-1])))
    scores = build.add(Mul(), [scores, factor])
    if cap:
        scores = _capped(node, scores, cap)
    if mask is not None:
        scores = build.add(Add(), build.broadcast([scores, additive(mask)]))
    weights = build.add(Softmax(), [scores])
    if shared:
        weights = build.add(Reshape((*shape[:-3], keys[-3], rows, keys[-2])), [weights])
    made = build.add(BatchMatMul(), [weights, value])
    return build.add(Reshape((*shape[:-1], build.shape(made)[-1])), [made]) if shared else made


def _capped(node: OnnxNode, scores: str, cap: float) -> str:
    build, ones = node.build, (1,) * len(node.build.shape(scores))
    small = build.add(Mul(), [scores, build.constant(np.full(ones, 1 / cap))])
    bounded = build.add(Tanh(), [small])
    return build.add(Mul(), [bounded, build.constant(np.full(ones, cap))])


def _split_heads(node: OnnxNode, name: str, heads: int) -> str:
    """Return (N, T, heads * C) as (N, heads, T, C)."""
    batch, tokens, width = node.build.shape(name)
    if heads < 1 or width % heads:
        raise UnsupportedError(f"of {heads} heads of {width} channels")
    parts = node.build.add(Reshape((batch, tokens, heads, width // heads)), [name])
    return node.build.add(Transpose((0, 2, 1, 3)), [parts])


def _join_heads(node: OnnxNode, name: str) -> str:
    """Return (N, heads, T, C) as (N, T, heads * C)."""
    batch, heads, tokens, width = node.build.shape(name)
    turned = node.build.add(Transpose((0, 2, 1, 3)), [name])
    return node.build.add(Reshape((batch, tokens, heads * width)), [turned])
