"""ATen operators that are functions of one element, reductions and sums over named indices."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from toolchain.importers.aten import AtenNode, Reader, number
from toolchain.importers.onnx_builder import UnsupportedError, Value
from toolchain.importers.spelled import Chain, backwards, rolled, tiled
from toolchain.ops import Function, Reshape

_LINE = 10  # beyond it softplus is x but for less than 5e-5


def function(kind: str, *names: str) -> Reader:
    """Return the reader of a function whose parameters are the arguments ``names``."""
    return lambda node: [_looked_up(node, kind, *(float(node[name]) for name in names))]


def _looked_up(node: AtenNode, kind: str, *parameters: float) -> str:
    return node.build.add(Function(kind, parameters), [node.name(node.x)])


def elu(node: AtenNode) -> Sequence[Value]:
    """ELU and its kin: slopes and rate are arguments, or those of SELU."""
    alpha, scale, rate = (float(node.get(n, 1)) for n in ("alpha", "scale", "input_scale"))
    if node.kind == "selu":
        return node.onnx("Selu", [node.x])
    if node.kind == "celu":
        return node.onnx("Celu", [node.x], alpha=alpha)
    if (scale, rate) == (1, 1):
        return node.onnx("Elu", [node.x], alpha=alpha)
    return [_looked_up(node, "exponential_linear", alpha, scale, rate)]


def softplus(node: AtenNode) -> Sequence[Value]:
    """Softplus; where it is said to become a straight line it is one already."""
    if float(node["beta"]) <= 0 or float(node["threshold"]) < _LINE:
        raise UnsupportedError(f"with a threshold of {node['threshold']}")
    return [_looked_up(node, "softplus", float(node["beta"]))]


def power(node: AtenNode) -> Sequence[Value]:
    """Power of a number to the exponent that is a number."""
    exponent = node["exponent"]
    if isinstance(exponent, str) or isinstance(node.x, float | int):
        raise UnsupportedError("to a power that is computed")
    return node.onnx("Pow", [node.x, number(float(np.asarray(exponent).reshape(-1)[0]))])


def reduced(kind: str) -> Reader:
    """Return the reader of a reduction over some or all axes."""

    def read(node: AtenNode) -> Sequence[Value]:
        given = node.get("dim", None)
        axes = given if isinstance(given, list) else [] if given is None else [given]
        every = [node.axis(axis) for axis in axes] or list(range(len(node.shape())))
        keep = int(node.get("keepdim", False))
        values = node.onnx(kind, [node.x], axes=every, keepdims=keep)
        if len(node.shapes) == 1:
            return values
        place = "ArgMax" if kind == "ReduceMax" else "ArgMin"
        return [*values, *node.onnx(place, [node.x], axis=every[0], keepdims=keep)]

    return read


def norm(node: AtenNode) -> Sequence[Value]:
    """Norms of the first and second order."""
    order = node.get("ord", node.get("p", 2))
    kinds = {1: "ReduceL1", 2: "ReduceL2"}
    if order not in kinds:
        raise UnsupportedError(f"of order {order}")
    return reduced(kinds[order])(node)


def top_k(node: AtenNode) -> Sequence[Value]:
    """TopK of one value."""
    extra = {"axis": node.axis(node["dim"]), "largest": int(node["largest"])}
    return node.onnx("TopK", [node.x, np.array([node["k"]])], **extra)


def einsum(node: AtenNode) -> Sequence[Value]:
    """Einsum."""
    return node.onnx("Einsum", node["tensors"], equation=node["equation"])


def cumulative_sum(node: AtenNode) -> Sequence[Value]:
    """CumSum."""
    return node.onnx("CumSum", [node.x, np.array(node.axis(node["dim"]))])


def triangle(node: AtenNode) -> Sequence[Value]:
    """Tril and triu."""
    upper = int(node.kind == "triu")
    return node.onnx("Trilu", [node.x, np.array(node["diagonal"])], upper=upper)


def repeat(node: AtenNode) -> Sequence[Value]:
    """Repeat: copies along every axis, of which new ones stand in front."""
    counts = list(node.get("repeats", node.get("dims")))
    full = (1,) * (len(counts) - len(node.shape())) + node.shape()
    counts = [1] * (len(full) - len(counts)) + counts
    return _chained(node, node.reshaped(node.x, full), tiled(full, counts))


def roll(node: AtenNode) -> Sequence[Value]:
    """Roll: elements move along axes, those at the end to the front."""
    shape, shifts = node.shape(), [0] * len(node.shape())
    if not node["dims"]:
        flat = node.reshaped(node.x, (math.prod(shape),))
        made = _chained(node, flat, rolled((math.prod(shape),), tuple(node["shifts"])))
        return [node.reshaped(made[0], shape)]
    for axis, shift in zip(node["dims"], node["shifts"], strict=True):
        shifts[node.axis(axis)] += shift
    return _chained(node, node.x, rolled(shape, tuple(shifts)))


def flip(node: AtenNode) -> Sequence[Value]:
    """Flip: axes in the opposite order."""
    axes = [node.axis(axis) for axis in node["dims"]]
    return _chained(node, node.x, backwards(node.shape(), axes))


def _chained(node: AtenNode, x: Value, chain: Chain) -> Sequence[Value]:
    name = node.name(x)
    for op in chain or (Reshape(node.build.shape(x)),):
        name = node.build.add(op, [name])
    return [name]


def index(node: AtenNode) -> Sequence[Value]:
    """Index by one constant tensor, and index_select."""
    if node.kind == "index_select":
        return node.onnx("Gather", [node.x, node["index"]], axis=node.axis(node["dim"]))
    given = [(axis, one) for axis, one in enumerate(node["indices"]) if one is not None]
    known = len(given) == 1 and not isinstance(given[0][1], str)
    if not known or given[0][1].dtype == np.bool_:
        raise UnsupportedError("by more than one constant tensor of places")
    ((axis, places),) = given
    return node.onnx("Gather", [node.x, places], axis=axis)
