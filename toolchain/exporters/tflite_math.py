"""Records of the operators that compute element by element or along one axis."""

from __future__ import annotations

import numpy as np

from toolchain.exporters.tflite_layer import Layer, Writer, fused
from toolchain.exporters.tflite_writer import Record
from toolchain.importers.tflite_types import LAYER_NORM, STAND_ALONE, function_name
from toolchain.ir import DType
from toolchain.ops import (
    Add,
    ArgMax,
    BatchMatMul,
    Function,
    Gelu,
    LayerNorm,
    LeakyRelu,
    Mul,
    Relu,
    Softmax,
    Sub,
)

_INDEX_TYPES = {DType.INT32: 2, DType.INT64: 4}  # numbers of TensorType


def plain(code: str, version: int, options: str = "") -> Writer:
    """Return the writer of an operator without attributes."""
    return lambda layer: layer.record(code, version, options)


def add(layer: Layer) -> Record:
    """ADD."""
    return layer.record("ADD", 2, "AddOptions", fused(layer.op(Add).activation))


def sub(layer: Layer) -> Record:
    """SUB."""
    return layer.record("SUB", 2, "SubOptions", fused(layer.op(Sub).activation))


def mul(layer: Layer) -> Record:
    """MUL."""
    return layer.record("MUL", 2, "MulOptions", fused(layer.op(Mul).activation))


def softmax(layer: Layer) -> Record:
    """SOFTMAX."""
    return layer.record("SOFTMAX", 2, "SoftmaxOptions", {"Beta": layer.op(Softmax).beta})


def relu(layer: Layer) -> Record:
    """RELU, RELU_N1_TO_1 or RELU6."""
    codes = {activation: code for code, activation in STAND_ALONE.items()}
    code = codes[layer.op(Relu).activation]
    return layer.record(code, 1 if code == "RELU_N1_TO_1" else 2)


def leaky_relu(layer: Layer) -> Record:
    """LEAKY_RELU."""
    return layer.record("LEAKY_RELU", 2, "LeakyReluOptions", {"Alpha": layer.op(LeakyRelu).alpha})


def function(layer: Layer) -> Record:
    """Tessera's own operator of each function, of x and its parameters, real constants."""
    op, inputs = layer.op(Function), layer.node.inputs
    if op.parameters:
        inputs = (*inputs, layer.reals("parameters", op.parameters))
    return layer.record(function_name(op.kind), 1, inputs=inputs)


def gelu(layer: Layer) -> Record:
    """GELU."""
    return layer.record("GELU", 2, "GeluOptions", {"Approximate": layer.op(Gelu).approximate})


def batch_matmul(layer: Layer) -> Record:
    """BATCH_MATMUL; its last version takes int16."""
    op = layer.op(BatchMatMul)
    fields = {"AdjX": op.transpose_a, "AdjY": op.transpose_b}
    version = 3 if layer.operands.output.dtype is DType.INT16 else 2
    return layer.record("BATCH_MATMUL", version, "BatchMatMulOptions", fields)


def layer_norm(layer: Layer) -> Record:
    """TesseraLayerNorm, of x, gain, offset and epsilon, all three constants of real numbers."""
    x, given = layer.operands.input(0), list(layer.node.inputs[1:])
    names = [*given, *[None] * (2 - len(given))]
    for place, (name, default) in enumerate(zip(names, (1.0, 0.0), strict=True)):
        if name is None:
            names[place] = layer.reals("absent", np.full(x.shape[-1], default))
    epsilon = layer.reals("epsilon", layer.op(LayerNorm).epsilon)
    return layer.record(LAYER_NORM, 1, inputs=(layer.node.inputs[0], *names, epsilon))


def arg_max(layer: Layer) -> Record:
    """ARG_MAX."""
    inputs = (layer.node.inputs[0], layer.integers("axis", layer.op(ArgMax).axis))
    fields = {"OutputType": _INDEX_TYPES[layer.operands.output.dtype]}
    return layer.record("ARG_MAX", 2, "ArgMaxOptions", fields, inputs)
