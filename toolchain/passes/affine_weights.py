"""Fold factors and offsets per channel into the weights before them (float graphs only).

``factor * (w x + b) + offset`` is ``(factor w) x + (factor b + offset)``: so batch normalisation in
inference, separate biases and scalings of features vanish. Reference: B. Jacob et al.,
"Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
CVPR 2018, section 3.2.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from toolchain.ir import Array, Graph, Node, Tensor, constant
from toolchain.numerics import Activation
from toolchain.ops import Add, Conv2D, DepthwiseConv2D, FullyConnected, Mul, Sub, TransposeConv
from toolchain.passes.rewriter import Rewriter, until_stable

_Weighted = Conv2D | DepthwiseConv2D | FullyConnected | TransposeConv


def fold_affine_weights(graph: Graph) -> Graph:
    """Return the graph without MUL, ADD and SUB of constants per channel behind weights.

    Weights that carry a quantisation take no factor, as a rounded value times a factor is no
    rounded value; offsets they take.
    """
    return until_stable(_fold_first, graph)


def _fold_first(graph: Graph) -> Graph:
    for node in graph.nodes:
        producer = graph.producers.get(node.inputs[0] or "")
        if producer is None or not isinstance(producer.op, _Weighted):
            continue
        channels = graph.operands(producer).output.shape[-1]
        value = _per_channel(graph, node, channels)
        if value is None or not _is_alone(graph, producer):
            continue
        added = _absorbed(graph, producer, node, value)
        rewriter = Rewriter(graph)
        if added is None or not rewriter.forward(node, producer.outputs[0]):
            continue
        new, tensors = added
        rewriter.replace(producer, new, tensors)
        return _with_annotation(rewriter.result(), graph, producer, node)
    return graph


def _with_annotation(result: Graph, graph: Graph, producer: Node, node: Node) -> Graph:
    """Let the producer's output carry the quantisation that the removed node's output had."""
    quant = graph.operands(node).output.quant
    name = next(n for n in (producer.outputs[0], node.outputs[0]) if n in result.producers)
    return result.with_nodes(result.nodes, [replace(result.tensors[name], quant=quant)])


def _is_alone(graph: Graph, producer: Node) -> bool:
    """Tell whether one node reads the producer's plain sum."""
    name = producer.outputs[0]
    plain = getattr(producer.op, "activation", None) is Activation.NONE
    return plain and graph.read_once(name) and graph.tensors[name].quant is None


def _per_channel(graph: Graph, node: Node, channels: int) -> Array | None:
    """Return the constant of ``x op constant`` as one value per channel, else ``None``."""
    if not isinstance(node.op, Mul | Add | Sub) or node.op.activation is not Activation.NONE:
        return None
    operands = graph.operands(node)
    x, other = operands.input(0), operands.input(1)
    along_channels = other.size == 1 or other.shape[-1:] == (channels,) == (other.size,)
    if not other.is_constant or other.quant is not None or not along_channels:
        return None
    if operands.output.shape != x.shape:
        return None
    return np.broadcast_to(other.values.reshape(-1), (channels,))


def _absorbed(
    graph: Graph, producer: Node, node: Node, value: Array
) -> tuple[Node, list[Tensor]] | None:
    """Return the producer with the constant in its weights and bias, and these."""
    operands = graph.operands(producer)
    weights, old = operands.input(1), operands.optional(2)
    bias = np.zeros(value.shape) if old is None else old.values.astype(np.float64)
    inputs, tensors = list(producer.inputs[:2]), []
    if isinstance(node.op, Mul):
        if weights.quant is not None:
            return None
        last = isinstance(producer.op, DepthwiseConv2D)
        shape = (1,) * 3 + (-1,) if last else (-1,) + (1,) * (len(weights.shape) - 1)
        scaled = weights.values * value.astype(np.float64).reshape(shape)
        tensors.append(_made(f"{producer.name}/weights {node.name}", scaled))
        inputs[1], bias = tensors[-1].name, bias * value
    else:
        bias = bias + value * (1 if isinstance(node.op, Add) else -1)
    tensors.append(_made(f"{producer.name}/bias {node.name}", bias))
    return replace(producer, inputs=(*inputs, tensors[-1].name)), tensors


def _made(name: str, values: Array) -> Tensor:
    with np.errstate(over="ignore"):
        return constant(name, np.asarray(values, np.float32))
