"""`quantize_wide`: from a float graph to one with int16 activations and int8 weights (16x8)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from toolchain.errors import ModelError
from toolchain.ir import DType, Graph, Node, Tensor, constant
from toolchain.numerics import Activation
from toolchain.ops import Add, HardSwish, Mul
from toolchain.quantization.activations import activation_quants
from toolchain.quantization.calibrate import Cases, calibrate
from toolchain.quantization.integer import quantize_graph
from toolchain.quantization.precision import INT16
from toolchain.quantization.ranges import minmax


def quantize_wide(graph: Graph, cases: Cases) -> Graph:
    """Return the graph of 16x8: int16 activations around zero, int8 weights, int64 biases.

    Ranges hold everything that was seen: with 16 bits clipping loses more than fine steps gain.
    Operators without a 16-bit form (ELU, EXP, GELU, LOG, LOG_SOFTMAX, bilinear resizing) compute in
    int8, between conversions; hard swish is spelled out as ``x * relu6(x + 3) * (1 / 6)``.

    Args:
        graph: a float graph.
        cases: sample inputs, one float32 array per graph input each.

    Raises:
        UsageError: E115 for data that is missing or not finite.
        ModelError: E205, E206 if a node cannot be executed with the chosen scales, E213 for a graph
            that is quantised to int8.
    """
    refuse_quantised(graph)
    spelled = spell_hard_swish(graph)
    statistics = calibrate(spelled, cases)
    quants = activation_quants(spelled, statistics, minmax, INT16)
    narrow = activation_quants(spelled, statistics, minmax)
    return quantize_graph(spelled, quants, statistics, INT16, narrow)


def refuse_quantised(graph: Graph) -> None:
    """Raise E213 if an activation carries a quantisation, which has 8 bits."""
    for tensor in graph.tensors.values():
        if tensor.quant is not None and not tensor.is_constant:
            raise ModelError(
                "E213",
                "the model is quantised to int8 already, which finer activations cannot undo",
                where=f'tensor "{tensor.name}"',
                hints=["quantise the float model it was made of, or drop --activations int16"],
            )


def spell_hard_swish(graph: Graph) -> Graph:
    """Return a float graph whose hard swishes are sums and products."""
    added: dict[str, Tensor] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        if isinstance(node.op, HardSwish):
            nodes += _spelled(graph, node, added)
        else:
            nodes.append(node)
    return graph.with_nodes(nodes, added.values())


def _spelled(graph: Graph, node: Node, added: dict[str, Tensor]) -> Iterator[Node]:
    """Yield the nodes of one hard swish; add their tensors."""
    (x,) = graph.operands(node).activations
    y = graph.operands(node).output
    ones = (1,) * len(x.shape)
    gate, product = (replace(y, name=f"{y.name}/{part}") for part in ("gate", "product"))
    three = constant(f"{y.name}/three", np.full(ones, 3, DType.FLOAT32.numpy))
    sixth = constant(f"{y.name}/sixth", np.full(ones, 1 / 6, DType.FLOAT32.numpy))
    added.update({tensor.name: tensor for tensor in (gate, product, three, sixth)})
    yield Node(f"{node.name}/gate", Add(Activation.RELU6), (x.name, three.name), (gate.name,))
    yield Node(f"{node.name}/product", Mul(), (x.name, gate.name), (product.name,))
    yield Node(node.name, Mul(), (product.name, sixth.name), (y.name,))
