"""Fuse stand-alone activations into the operator before them."""

from __future__ import annotations

from dataclasses import replace

from toolchain.ir import Graph, Node
from toolchain.numerics import Activation
from toolchain.ops import (
    Add,
    AveragePool2D,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    MaxPool2D,
    Mul,
    Op,
    Relu,
    Sub,
    TransposeConv,
)
from toolchain.passes.rewriter import Rewriter

_Clamped = (
    Add
    | AveragePool2D
    | Conv2D
    | DepthwiseConv2D
    | FullyConnected
    | MaxPool2D
    | Mul
    | Sub
    | TransposeConv
)


def fuse_activations(graph: Graph) -> Graph:
    """Return the graph without RELU nodes that only narrow the range of the node before.

    This is exact where both outputs have one quantisation: the activation then is a clamp, and of
    two clamps one after the other the inner range remains.
    """
    rewriter = Rewriter(graph)
    for node in graph.nodes:
        producer = graph.producers.get(node.inputs[0] or "")
        if not isinstance(node.op, Relu) or producer is None:
            continue
        op = _clamped(graph, producer, node, node.op.activation)
        # The activation's tensor takes the producer's place, with the same type and quantisation.
        if op is not None and rewriter.forward(node, producer.outputs[0]):
            rewriter.replace(producer, replace(producer, op=op))
    return rewriter.result()


def _clamped(graph: Graph, producer: Node, node: Node, activation: Activation) -> Op | None:
    """Return the producer's operator with the activation of ``node``, if that is exact."""
    op, inner = producer.op, producer.outputs[0]
    x, y = graph.operands(node).input(0), graph.operands(node).output
    shared = len(graph.consumers[inner]) != 1 or inner in graph.sinks
    if not isinstance(op, _Clamped) or x.quant != y.quant or shared:
        return None
    both = _intersection(op.activation, activation)
    return None if both is None else replace(op, activation=both)


def _intersection(first: Activation, second: Activation) -> Activation | None:
    """Return the activation of the range common to both, ``None`` if there is no such one."""
    (low, high), (other_low, other_high) = first.value, second.value
    common = (max(low, other_low), min(high, other_high))
    return next((activation for activation in Activation if activation.value == common), None)
