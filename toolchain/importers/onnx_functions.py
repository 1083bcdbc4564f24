"""ONNX operators that are functions of one element, looked up in a table, and norms along axes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from toolchain.importers.onnx_builder import OnnxNode, UnsupportedError, elements
from toolchain.ir import DType
from toolchain.ops import (
    Add,
    ArgMax,
    Elu,
    FullyConnected,
    Function,
    LeakyRelu,
    Logistic,
    Mean,
    Mul,
    ReduceMax,
    ReduceMin,
    Reshape,
    Rsqrt,
    Sqrt,
)

Reader = Callable[[OnnxNode], list[str]]


def named(kind: str, *parameters: float) -> Reader:
    """Return the reader of a function without attributes."""
    return lambda node: [node.build.add(Function(kind, parameters), [node.tensor(0)])]


def absolute(node: OnnxNode) -> list[str]:
    """Abs: a leaky rectifier whose slope below zero is -1."""
    return [node.build.add(LeakyRelu(-1.0), [node.tensor(0)])]


def elu(node: OnnxNode) -> list[str]:
    """Elu."""
    return [_exponential_linear(node, _number(node, "alpha", 1.0), 1.0, 1.0)]


def celu(node: OnnxNode) -> list[str]:
    """Celu: an Elu whose slope is 1 on both sides of zero."""
    alpha = _number(node, "alpha", 1.0)
    if alpha == 0:
        raise UnsupportedError("with an alpha of 0")
    return [_exponential_linear(node, alpha, 1.0, 1 / alpha)]


def selu(node: OnnxNode) -> list[str]:
    """Selu: a scaled Elu."""
    alpha, scale = _number(node, "alpha", 1.67326319), _number(node, "gamma", 1.05070102)
    return [_exponential_linear(node, alpha, scale, 1.0)]


def _exponential_linear(node: OnnxNode, alpha: float, scale: float, rate: float) -> str:
    plain = (alpha, scale, rate) == (1, 1, 1)
    op = Elu() if plain else Function("exponential_linear", (alpha, scale, rate))
    return node.build.add(op, [node.tensor(0)])


def thresholded_relu(node: OnnxNode) -> list[str]:
    """ThresholdedRelu: x above alpha, else 0."""
    op = Function("threshold", (_number(node, "alpha", 1.0), 0.0))
    return [node.build.add(op, [node.tensor(0)])]


def shrink(node: OnnxNode) -> list[str]:
    """Shrink: nothing between -lambd and lambd, the rest brought nearer to zero."""
    op = Function("shrink", (_number(node, "lambd", 0.5), _number(node, "bias", 0.0)))
    return [node.build.add(op, [node.tensor(0)])]


def swish(node: OnnxNode) -> list[str]:
    """Swish: ``x * sigmoid(alpha * x)``."""
    build, x, alpha = node.build, node.tensor(0), _number(node, "alpha", 1.0)
    inner = x
    if alpha != 1:
        factor = build.constant(np.full((1,) * len(node.shape()), alpha))
        inner = build.add(Mul(), [x, factor])
    return [build.add(Mul(), [x, build.add(Logistic(), [inner])])]


def _number(node: OnnxNode, name: str, default: float) -> float:
    return float(node.attributes.get(name, default))


def axes_of(node: OnnxNode) -> tuple[int, ...]:
    """Return the axes of a reduction, all where none is given."""
    given = node.integers("axes", 1) or list(range(len(node.shape())))
    return tuple(sorted({node.axis(axis) for axis in given}))


def reduced(kind: type[Mean] | type[ReduceMax] | type[ReduceMin]) -> Reader:
    """Return the reader of a reduction over constant axes."""

    def read(node: OnnxNode) -> list[str]:
        if node.attributes.get("noop_with_empty_axes") and not node.integers("axes", 1):
            return [node.tensor(0)]
        keep = bool(node.attributes.get("keepdims", 1))
        return [node.build.add(kind(axes_of(node), keep), [node.tensor(0)])]

    return read


def norm(kind: str) -> Reader:
    """Return the reader of ReduceSum and of sums of magnitudes or squares, or their root."""

    def read(node: OnnxNode) -> list[str]:
        build, x = node.build, node.tensor(0)
        if kind == "ReduceL1":
            (x,) = absolute(node)
        elif kind in ("ReduceL2", "ReduceSumSquare"):
            x = build.add(Mul(), [x, x])
        axes, keep = axes_of(node), bool(node.attributes.get("keepdims", 1))
        made = _summed(node, x, axes, keep=keep)
        return [build.add(Sqrt(), [made]) if kind == "ReduceL2" else made]

    return read


def _summed(node: OnnxNode, x: str, axes: tuple[int, ...], *, keep: bool = True) -> str:
    """Return a sum: a mean times the number of its elements."""
    build = node.build
    mean = build.add(Mean(axes, keep), [x])
    count = elements([build.shape(x)[axis] for axis in axes])
    return build.add(Mul(), [mean, build.constant(np.full((1,) * len(build.shape(mean)), count))])


def lp_normalization(node: OnnxNode) -> list[str]:
    """LpNormalization: x divided by its sum of magnitudes, or by the root of that of squares."""
    build, x, axis = node.build, node.tensor(0), node.axis(int(node.attributes.get("axis", -1)))
    if int(node.attributes.get("p", 2)) == 2:
        inverse = build.add(Rsqrt(), [_summed(node, build.add(Mul(), [x, x]), (axis,))])
    else:
        sums = _summed(node, build.add(LeakyRelu(-1.0), [x]), (axis,))
        inverse = build.add(Function("power", (-1.0,)), [sums])
    return [build.add(Mul(), [x, inverse])]


def rms_normalization(node: OnnxNode) -> list[str]:
    """RMSNormalization: x divided by the root of the mean of squares, then scaled."""
    build, x, rank = node.build, node.tensor(0), len(node.shape())
    axes = tuple(range(node.axis(int(node.attributes.get("axis", -1))), rank))
    mean = build.add(Mean(axes, keep_dims=True), [build.add(Mul(), [x, x])])
    epsilon = build.constant(np.full((1,) * rank, _number(node, "epsilon", 1e-5)))
    inverse = build.add(Rsqrt(), [build.add(Add(), [mean, epsilon])])
    scaled = build.add(Mul(), [x, inverse])
    return [build.add(Mul(), build.broadcast([scaled, node.needed(1)]))]


def arg_extreme(node: OnnxNode, x: str, axis: int, *, keep: bool) -> str:
    """Return the place of the first greatest element of ``x`` along ``axis``."""
    build, shape = node.build, node.build.shape(x)
    made = build.add(ArgMax(axis), [x], dtype=DType.INT64)
    kept = (*shape[:axis], 1, *shape[axis + 1 :])
    return build.add(Reshape(kept), [made]) if keep else made


def arg_max(node: OnnxNode) -> list[str]:
    """ArgMax and ArgMin, the first of equal values."""
    if node.attributes.get("select_last_index"):
        raise UnsupportedError("of the last index")
    x = node.tensor(0) if node.kind == "ArgMax" else _negated(node)
    axis = node.axis(int(node.attributes.get("axis", 0)))
    return [arg_extreme(node, x, axis, keep=bool(node.attributes.get("keepdims", 1)))]


def _negated(node: OnnxNode) -> str:
    minus = node.build.constant(np.full((1,) * len(node.shape()), -1.0))
    return node.build.add(Mul(), [node.tensor(0), minus])


def top_k(node: OnnxNode) -> list[str]:
    """TopK of one value: the greatest or least one, and its place."""
    count = int((node.integers("k", 1) or [0])[0])
    if count != 1:
        raise UnsupportedError(f"of {count} values; take the scores as output, and sort them there")
    greatest = bool(node.attributes.get("largest", 1))
    axis = node.axis(int(node.attributes.get("axis", -1)))
    kind = ReduceMax if greatest else ReduceMin
    values = node.build.add(kind((axis,), keep_dims=True), [node.tensor(0)])
    x = node.tensor(0) if greatest else _negated(node)
    return [values, arg_extreme(node, x, axis, keep=True)]


def cumulative_sum(node: OnnxNode) -> list[str]:
    """CumSum along a constant axis: a product with a triangle of ones."""
    build, shape = node.build, node.shape()
    axis = node.axis(int(node.needed(1).reshape(-1)[0]))
    size = shape[axis]
    ones = np.tri(size, size, -int(bool(node.attributes.get("exclusive"))), np.float32)
    if node.attributes.get("reverse"):
        ones = ones[::-1, ::-1]
    order = [i for i in range(len(shape)) if i != axis] + [axis]
    turned = build.transposed(node.tensor(0), order)
    rows = build.add(Reshape((elements(shape) // size, size)), [turned])
    made = build.add(FullyConnected(), [rows, build.constant(ones)])
    back = build.add(Reshape(build.shape(turned)), [made])
    return [build.transposed(back, np.argsort(order).tolist())]


def triangle(node: OnnxNode) -> list[str]:
    """Trilu: a product with a triangle of ones."""
    shape, k = node.shape(), 0
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        k = int(node.needed(1).reshape(-1)[0])
    rows, columns = shape[-2:]
    upper = bool(node.attributes.get("upper", 1))
    kept = 1 - np.tri(rows, columns, k - 1) if upper else np.tri(rows, columns, k)
    inputs = node.build.broadcast([node.tensor(0), kept.astype(np.float32)])
    return [node.build.add(Mul(), inputs)]
