"""PyTorch's ATen operators, each in the words of the ONNX operators that mean the same.

So both importers share one reader per operator (`toolchain.importers.onnx_math` and its
neighbours), and with it the patterns, layouts and refusals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolchain.importers.onnx import READERS as ONNX_READERS
from toolchain.importers.onnx_builder import Builder, OnnxNode, UnsupportedError, Value
from toolchain.ir import Array
from toolchain.ops import Reshape

_OPSET = 18  # whose rules the readers shall follow


@dataclass(frozen=True)
class AtenNode:
    """One call of an ATen operator.

    Attributes:
        kind: the operator's name without overload, such as ``"conv2d"``.
        index: its place in the program.
        label: its name in the program.
        arguments: by the schema's names, defaults included; tensors as values of the graph.
        shapes: of its outputs.
        build: the graph as it grows.
    """

    kind: str
    index: int
    label: str
    arguments: Mapping[str, Any]
    shapes: tuple[tuple[int, ...], ...]
    build: Builder

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def get(self, name: str, default: Any = None) -> Any:
        """Return an argument, ``default`` where it is ``None`` or the overload has none."""
        value = self.arguments.get(name)
        return default if value is None else value

    @property
    def x(self) -> Value:
        """Return the tensor that the operator is applied to."""
        value: Value = self.get("self", self.get("input"))
        return value

    def shape(self) -> tuple[int, ...]:
        """Return the shape of `x`."""
        return self.build.shape(self.x)

    def axis(self, axis: int, rank: int | None = None) -> int:
        """Return an axis counted from the front."""
        return axis % (len(self.shape()) if rank is None else rank)

    def onnx(self, kind: str, inputs: Sequence[Value | None], **attributes: Any) -> list[str]:
        """Add the ONNX operator ``kind`` and return its outputs."""
        names = ("",) * len(inputs)
        outputs = tuple(f"{self.label}.{i}" for i in range(len(self.shapes)))
        node = OnnxNode(
            kind, self.index, _OPSET, names, tuple(inputs), outputs, attributes, self.build
        )
        return ONNX_READERS[kind](node)

    def name(self, value: Value) -> str:
        """Return a value as a tensor of the graph."""
        return value if isinstance(value, str) else self.build.constant(value)

    def reshaped(self, value: Value, shape: tuple[int, ...]) -> Value:
        """Return a value in another shape."""
        if self.build.shape(value) == shape:
            return value
        if not isinstance(value, str):
            return value.reshape(shape)
        return self.build.add(Reshape(shape), [value])


Reader = Callable[[AtenNode], Sequence[Value]]


def same(kind: str, *names: str, **fixed: Any) -> Reader:
    """Return the reader of an operator whose tensors ``names`` are the inputs of ONNX's."""
    given = names or ("self",)
    return lambda node: node.onnx(kind, [node.get(n, node.x) for n in given], **fixed)


def number(value: float) -> Array:
    """Return a constant of one element."""
    return np.array([value], np.float32)


def identity(node: AtenNode) -> Sequence[Value]:
    """Read what changes nothing in inference."""
    return [node.x]


def reshape(node: AtenNode) -> Sequence[Value]:
    """Read all that only gives elements another shape, which the program tells."""
    (shape,) = node.shapes
    if math.prod(shape) != math.prod(node.shape()):
        raise UnsupportedError(f"{list(node.shape())} to {list(shape)}")
    return [node.reshaped(node.x, shape)]


def expand(node: AtenNode) -> Sequence[Value]:
    """Expand: elementwise operators broadcast by themselves, others get copies."""
    return node.onnx("Expand", [node.x, np.array(node.shapes[0], np.int64)])


def binary(kind: str, reverse: bool = False) -> Reader:
    """Return the reader of an operator of two operands, the second scaled by ``alpha``."""

    def read(node: AtenNode) -> Sequence[Value]:
        other = node["other"]
        if not isinstance(other, str):
            other = np.asarray(other, np.float32)
        alpha = node.get("alpha", 1)
        if alpha != 1:
            scale = number(alpha)
            other = node.onnx("Mul", [other, scale])[0] if isinstance(other, str) else other * scale
        if node.get("rounding_mode"):
            raise UnsupportedError("with rounding")
        return node.onnx(kind, [other, node.x] if reverse else [node.x, other])

    return read


def clamp(node: AtenNode) -> Sequence[Value]:
    """Clamp and hardtanh."""
    bounds = [node.get(a, node.get(b)) for a, b in (("min", "min_val"), ("max", "max_val"))]
    known = [None if v is None else np.asarray(v, np.float32).reshape(-1) for v in bounds]
    return node.onnx("Clip", [node.x, *known])


def gelu(node: AtenNode) -> Sequence[Value]:
    """GELU, exact or approximated."""
    return node.onnx("Gelu", [node.x], approximate=node["approximate"])


def prelu(node: AtenNode) -> Sequence[Value]:
    """PReLU, whose slopes follow the second axis."""
    rank, slopes = len(node.shape()), node["weight"]
    shape = (-1, *(1,) * (rank - 2)) if rank > 1 else (-1,)
    return node.onnx("PRelu", [node.x, slopes.reshape(shape)])


def silu(node: AtenNode) -> Sequence[Value]:
    """SiLU: ``x * sigmoid(x)``."""
    return node.onnx("Mul", [node.x, node.onnx("Sigmoid", [node.x])[0]])


def softmax(kind: str) -> Reader:
    """Return the reader of a softmax."""
    return lambda node: node.onnx(kind, [node.x], axis=node.axis(node["dim"]))


def arg_max(node: AtenNode) -> Sequence[Value]:
    """ArgMax and ArgMin along one axis."""
    kind = "ArgMax" if node.kind == "argmax" else "ArgMin"
    if node.get("dim") is None:
        raise UnsupportedError("over all axes")
    axis = node.axis(node["dim"])
    return node.onnx(kind, [node.x], axis=axis, keepdims=int(node["keepdim"]))


def batch_norm(node: AtenNode) -> Sequence[Value]:
    """Batch normalisation in inference; the statistics that training would save are not made."""
    channels = node.shape()[1]
    gamma = node.get("weight", np.ones(channels, np.float32))
    beta = node.get("bias", np.zeros(channels, np.float32))
    inputs = [node.x, gamma, beta, node["running_mean"], node["running_var"]]
    return node.onnx("BatchNormalization", inputs, epsilon=node["eps"])


def linear(node: AtenNode) -> Sequence[Value]:
    """Linear: a fully connected layer along the last axis."""
    weights, bias = node["weight"], node.get("bias")
    if isinstance(weights, str):
        raise UnsupportedError("with computed weights")
    if len(node.shape()) == 2:
        return node.onnx("Gemm", [node.x, weights, bias], transB=1)
    product = node.onnx("MatMul", [node.x, weights.T])
    return product if bias is None else node.onnx("Add", [product[0], bias])


def layer_norm(node: AtenNode) -> Sequence[Value]:
    """Layer normalisation over the last axes."""
    shape = tuple(node["normalized_shape"])
    gain = node.get("weight", np.ones(shape, np.float32))
    axis = len(node.shape()) - len(shape)
    return node.onnx(
        "LayerNormalization", [node.x, gain, node.get("bias")], axis=axis, epsilon=node["eps"]
    )


def group_norm(node: AtenNode) -> Sequence[Value]:
    """Group normalisation, with factors per channel."""
    inputs = [node.x, node.get("weight"), node.get("bias")]
    return node.onnx(
        "GroupNormalization", inputs, num_groups=node["num_groups"], epsilon=node["eps"]
    )


def instance_norm(node: AtenNode) -> Sequence[Value]:
    """Instance normalisation with the statistics of the input itself."""
    if not node.get("use_input_stats"):
        raise UnsupportedError("with running statistics")
    inputs = [node.x, node.get("weight"), node.get("bias")]
    return node.onnx("InstanceNormalization", inputs, epsilon=node["eps"])


def rsqrt(node: AtenNode) -> Sequence[Value]:
    """Inverse of the square root."""
    return node.onnx("Reciprocal", node.onnx("Sqrt", [node.x]))


def variance(node: AtenNode) -> Sequence[Value]:
    """Variance over axes: the mean of squares of what is less its mean."""
    axes = [node.axis(a) for a in node.get("dim", range(len(node.shape())))]
    count = math.prod(node.shape()[axis] for axis in axes)
    correction = node.get("correction", 1 if node.get("unbiased", True) else 0)
    if correction >= count:
        raise UnsupportedError(f"of {count} values with a correction of {correction}")
    (mean,) = node.onnx("ReduceMean", [node.x], axes=axes, keepdims=1)
    (centred,) = node.onnx("Sub", [node.x, mean])
    squares = node.onnx("Mul", [centred, centred])
    keep = int(node.get("keepdim", False))
    made = node.onnx("ReduceMean", squares, axes=axes, keepdims=keep)
    if not correction:
        return made
    return node.onnx("Mul", [*made, number(count / (count - correction))])


def attention(node: AtenNode) -> Sequence[Value]:
    """Scaled dot product attention; with fewer heads of keys than of queries only if enabled."""
    inputs = [node[name] for name in ("query", "key", "value")]
    heads = [node.build.shape(value)[-3:-2] for value in inputs[:2]]
    if heads[0] != heads[1] and not node.get("enable_gqa"):
        raise UnsupportedError(f"of {heads[0]} heads of queries to {heads[1]} of keys")
    extra = {"is_causal": int(node.get("is_causal", False)), "scale": node.get("scale", 0.0)}
    return node.onnx("Attention", [*inputs, node.get("attn_mask")], **extra)


def where(node: AtenNode) -> Sequence[Value]:
    """Where, with a constant condition."""
    condition, *values = (node[name] for name in ("condition", "self", "other"))
    return node.onnx("Where", [condition, *map(_array, values)])


def masked_fill(node: AtenNode) -> Sequence[Value]:
    """Masked fill, with a constant mask."""
    return node.onnx("Where", [node["mask"], _array(node["value"]), node.x])


def _array(value: Any) -> Value:
    """Return a tensor as it is, a number as a constant."""
    return value if isinstance(value, str) else np.asarray(value, np.float32)


def batch_matmul(node: AtenNode) -> Sequence[Value]:
    """Baddbmm: ``beta * self + alpha * batch1 @ batch2``."""
    if node["beta"] != 1 or node["alpha"] != 1:
        raise UnsupportedError("with factors")
    return node.onnx("Add", [*node.onnx("MatMul", [node["batch1"], node["batch2"]]), node.x])


def addmm(node: AtenNode) -> Sequence[Value]:
    """Addmm: ``beta * self + alpha * mat1 @ mat2``."""
    scales = {"alpha": node["alpha"], "beta": node["beta"]}
    return node.onnx("Gemm", [node["mat1"], node["mat2"], node["self"]], **scales)


def matmul(node: AtenNode) -> Sequence[Value]:
    """Products of matrices."""
    return node.onnx("MatMul", [node.x, node.get("mat2", node.get("other"))])
