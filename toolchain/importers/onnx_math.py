"""ONNX operators that compute element by element or along an axis."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce

import numpy as np

from toolchain.importers.onnx_attention import finite
from toolchain.importers.onnx_builder import OnnxNode, UnsupportedError, Value
from toolchain.ir import Array, DType, Quant
from toolchain.numerics import Activation
from toolchain.ops import (
    Add,
    Function,
    Gelu,
    HardSwish,
    LeakyRelu,
    LogSoftmax,
    Maximum,
    Minimum,
    Mul,
    Op,
    Prelu,
    Relu,
    Reshape,
    Rsqrt,
    Softmax,
    Sqrt,
)

Reader = Callable[[OnnxNode], list[str]]
_INVERSE = Function("power", (-1.0,))


def unary(op: Op) -> Reader:
    """Return the reader of a function of one element."""
    return lambda node: [node.build.add(op, [node.tensor(0)])]


def _broadcast(node: OnnxNode, indices: tuple[int, ...] = (0, 1)) -> list[str]:
    """Return inputs of one rank."""
    return node.build.broadcast([node.value(i) for i in indices])


def binary(op: Op) -> Reader:
    """Return the reader of an operator of two inputs that broadcast."""
    return lambda node: [node.build.add(op, _broadcast(node))]


def commutative(op: Op) -> Reader:
    """Return the reader of an operator whose constant, if it has one, is put behind."""

    def read(node: OnnxNode) -> list[str]:
        first, second = (finite(node.value(i)) for i in range(2))
        swapped = isinstance(second, str) and not isinstance(first, str)
        pair = (second, first) if swapped else (first, second)
        return [node.build.add(op, node.build.broadcast(pair))]

    return read


def mul(node: OnnxNode) -> list[str]:
    """Mul; ``x * HardSigmoid(x)`` with slope 1/6 is one hard swish."""
    for gate, x in ((0, 1), (1, 0)):
        source = _hard_gate(node, node.value(gate))
        if source is not None and _same(source, node.value(x)):
            return [node.build.add(HardSwish(), [source])]
    return commutative(Mul())(node)


def _same(name: str, value: Value) -> bool:
    return isinstance(value, str) and value == name


def _hard_gate(node: OnnxNode, value: object) -> str | None:
    """Return x if ``value`` is ``relu6(x + 3) / 6``."""
    build = node.build
    made = {name: one for one in build.nodes for name in one.outputs}
    scaled = made.get(value) if isinstance(value, str) else None
    shifted = made.get(scaled.inputs[0] or "") if scaled else None
    if scaled is None or shifted is None or not isinstance(scaled.op, Mul):
        return None
    if shifted.op != Add(Activation.RELU6):
        return None
    sixth, three = (build.tensors[n.inputs[1] or ""] for n in (scaled, shifted))
    if not (sixth.is_constant and three.is_constant):
        return None
    same = sixth.size == three.size == 1 and abs(float(sixth.values.reshape(-1)[0]) - 1 / 6) < 1e-4
    return (
        shifted.inputs[0] if same and abs(float(three.values.reshape(-1)[0]) - 3) < 1e-4 else None
    )


def div(node: OnnxNode) -> list[str]:
    """Div: a product with the reciprocal, of a root by one function, of a constant by none."""
    root = _under_root(node, 1)
    if root is not None:
        inverse = node.build.add(Rsqrt(), [root])
        return [node.build.add(Mul(), node.build.broadcast([node.value(0), inverse]))]
    if isinstance(node.value(1), str):
        inverse = node.build.add(_INVERSE, [node.tensor(1)])
        return [node.build.add(Mul(), node.build.broadcast([inverse, node.value(0)]))]
    divisor = node.needed(1)
    if not np.all(divisor):
        raise UnsupportedError("by zero")
    x, shape = node.tensor(0), node.shape()
    rank = max(len(shape), divisor.ndim)
    reciprocal = (1 / divisor.astype(np.float64)).reshape(
        (1,) * (rank - divisor.ndim) + divisor.shape
    )
    if rank > len(shape):
        x = node.build.add(Reshape((1,) * (rank - len(shape)) + shape), [x])
    return [node.build.add(Mul(), [x, node.build.constant(reciprocal)])]


def reciprocal(node: OnnxNode) -> list[str]:
    """Reciprocal, of a square root by one function."""
    root = _under_root(node, 0)
    if root is None:
        return [node.build.add(_INVERSE, [node.tensor(0)])]
    return [node.build.add(Rsqrt(), [root])]


def _under_root(node: OnnxNode, index: int) -> str | None:
    """Return what an input is the square root of, if it is one."""
    value = node.value(index)
    made = {name: one for one in node.build.nodes for name in one.outputs}
    producer = made.get(value) if isinstance(value, str) else None
    return producer.inputs[0] if producer and isinstance(producer.op, Sqrt) else None


def power(node: OnnxNode) -> list[str]:
    """Pow with one constant exponent: products where it is small and whole, or a function."""
    exponents = np.unique(node.needed(1))
    exponent = float(exponents[0]) if exponents.size == 1 else math.nan
    x = node.tensor(0)
    if exponent == 0.5:
        return [node.build.add(Sqrt(), [x])]
    if exponent == -0.5:
        return [node.build.add(Rsqrt(), [x])]
    if math.isnan(exponent):
        raise UnsupportedError(f"to the powers {exponents[:4].tolist()}")
    if exponent not in (1, 2, 3, 4):
        return [node.build.add(Function("power", (exponent,)), [x])]
    return [reduce(lambda y, _: node.build.add(Mul(), [y, x]), range(int(exponent) - 1), x)]


def neg(node: OnnxNode) -> list[str]:
    """Neg."""
    return [node.build.add(Mul(), [node.tensor(0), _scalar(node, -1.0)])]


def folded(op: Op) -> Reader:
    """Return the reader of an operator of any number of inputs."""

    def read(node: OnnxNode) -> list[str]:
        inputs = _broadcast(node, tuple(range(len(node.inputs))))
        return [reduce(lambda a, b: node.build.add(op, [a, b]), inputs)]

    return read


def _scalar(node: OnnxNode, value: float) -> str:
    return node.build.constant(np.full((1,) * len(node.shape()), value))


def clip(node: OnnxNode) -> list[str]:
    """Clip: one of the fused activations, or a minimum and a maximum."""
    low = _bound(node, "min", 1, -math.inf)
    high = _bound(node, "max", 2, math.inf)
    x = node.tensor(0)
    for activation in Activation:
        if activation.value == (low, high):
            return [node.build.add(Relu(activation), [x])]
    if low > high:
        raise UnsupportedError(f"from {low} to {high}")
    if low != -math.inf:
        x = node.build.add(Maximum(), [x, _scalar(node, low)])
    if high != math.inf:
        x = node.build.add(Minimum(), [x, _scalar(node, high)])
    return [x]


def _bound(node: OnnxNode, name: str, index: int, default: float) -> float:
    value = node.attributes.get(name)
    if value is None and index < len(node.inputs) and node.inputs[index] is not None:
        value = node.needed(index).reshape(-1)[0]
    if value is None or abs(value) >= np.finfo(np.float32).max:
        return default
    return float(value)


def leaky_relu(node: OnnxNode) -> list[str]:
    """LeakyRelu."""
    return [node.build.add(LeakyRelu(float(node.attributes.get("alpha", 0.01))), [node.tensor(0)])]


def gelu(node: OnnxNode) -> list[str]:
    """Gelu, exact or approximated."""
    approximate = node.attributes.get("approximate", "none") == "tanh"
    return [node.build.add(Gelu(approximate), [node.tensor(0)])]


def prelu(node: OnnxNode) -> list[str]:
    """PRelu: a leaky rectifier where all slopes are one."""
    slopes, build, x = node.needed(1), node.build, node.tensor(0)
    if np.unique(slopes).size == 1:
        return [build.add(LeakyRelu(float(slopes.reshape(-1)[0])), [x])]
    return [build.add(Prelu(), build.broadcast([x, slopes]))]


def hard_sigmoid(node: OnnxNode) -> list[str]:
    """HardSigmoid ``clip(alpha * x + beta, 0, 1)`` as ``relu6(6 * (alpha * x + beta)) / 6``."""
    alpha = 6 * float(node.attributes.get("alpha", 0.2))
    beta = 6 * float(node.attributes.get("beta", 0.5))
    build, x = node.build, node.tensor(0)
    if abs(alpha - 1) > 1e-5:
        x = build.add(Mul(), [x, _scalar(node, alpha)])
    shifted = build.add(Add(Activation.RELU6), [x, _scalar(node, beta)])
    return [build.add(Mul(), [shifted, _scalar(node, 1 / 6)])]


def softmax(op: type[Softmax] | type[LogSoftmax]) -> Reader:
    """Return the reader of a softmax along any axis.

    Before opset 13 all axes from ``axis`` on are one.
    """

    def read(node: OnnxNode) -> list[str]:
        build, shape, x = node.build, node.shape(), node.tensor(0)
        rank = len(shape)
        axis = node.axis(int(node.attributes.get("axis", -1 if node.opset >= 13 else 1)))
        if node.opset < 13 and math.prod(shape[axis + 1 :]) > 1:
            flat = build.add(Reshape((math.prod(shape[:axis]), math.prod(shape[axis:]))), [x])
            return [build.add(Reshape(shape), [build.add(op(), [flat])])]
        order = [i for i in range(rank) if i != axis] + [axis]
        made = build.add(op(), [build.transposed(x, order)])
        return [build.transposed(made, np.argsort(order).tolist())]

    return read


def batch_normalization(node: OnnxNode) -> list[str]:
    """BatchNormalization in inference: a factor and an offset per channel.

    Computed in double precision; `toolchain.passes.affine_weights` folds both into weights.
    """
    gamma, beta, mean, variance = (node.needed(i).astype(np.float64) for i in range(1, 5))
    if np.any(variance < 0):
        raise UnsupportedError("with a negative variance")
    factor = gamma / np.sqrt(variance + float(node.attributes.get("epsilon", 1e-5)))
    shape = (1, -1, *(1,) * (len(node.shape()) - 2))
    scaled = node.build.add(Mul(), [node.tensor(0), node.build.constant(factor.reshape(shape))])
    offset = node.build.constant((beta - mean * factor).reshape(shape))
    return [node.build.add(Add(), [scaled, offset])]


def identity(node: OnnxNode) -> list[str]:
    """Identity, Dropout in inference, and casts that change nothing."""
    if node.kind == "Cast" and node.attributes.get("to") != 1:
        raise UnsupportedError("to another type than float32")
    if node.build.tensors[node.tensor(0)].dtype is not DType.FLOAT32:
        raise UnsupportedError("of integers that are computed")
    return [node.tensor(0)]


def quantize_linear(node: OnnxNode) -> list[str]:
    """QuantizeLinear of a tensor: its values are rounded here, and read back by the next node."""
    return [node.build.rounded(node.tensor(0), activation_quant(node))]


def dequantize_linear(node: OnnxNode) -> list[str]:
    """DequantizeLinear of what a QuantizeLinear made, perhaps moved since then."""
    quant = activation_quant(node)
    known = node.build.tensors[node.tensor(0)].quant
    if known is None:
        return [node.build.rounded(node.tensor(0), quant)]
    if known != quant:
        raise UnsupportedError("with another scale than the QuantizeLinear before it")
    return [node.tensor(0)]


def activation_quant(node: OnnxNode) -> Quant:
    """Return scale and zero point as int8 of the same real values.

    Raises:
        UnsupportedError: unless they are one pair for 8-bit values.
    """
    scale, zero = node.needed(1), node.known(2)
    if scale.size != 1:
        raise UnsupportedError("of activations per channel")
    zero = np.zeros(1, np.uint8) if zero is None else zero
    return Quant.per_tensor(float(scale.reshape(-1)[0]), _int8_zero(zero))


def _int8_zero(zero: Array) -> int:
    if zero.dtype not in (np.int8, np.uint8):
        raise UnsupportedError(f"to {zero.dtype}")
    return int(zero.reshape(-1)[0]) - (128 if zero.dtype == np.uint8 else 0)
