"""Quantisation-aware fine-tuning: a float graph as a PyTorch module that rounds as int8 does.

The module computes every operator in float32 and rounds what it makes to the int8 grid of that
tensor; weights are rounded to their grid, one scale per output channel. Gradients pass the rounding
as if it were not there, and stop where values are clipped (straight-through estimator). What was
trained goes back into a graph whose weights lie on their grids, so that the integer graph holds
exactly these weights.

References: B. Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR 2018, section 3; Y. Bengio et al., 2013, for the estimator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from toolchain.errors import ModelError
from toolchain.ir import Array, Graph, Node, Operands, Quant, Tensor, constant
from toolchain.numerics import Activation
from toolchain.ops import (
    Add,
    AveragePool2D,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    MaxPool2D,
    Mean,
    Mul,
    Op,
    Relu,
    Reshape,
    Transpose,
)
from toolchain.quantization.weights import integers, weight_quant

_WEIGHTED = (Conv2D, DepthwiseConv2D, FullyConnected)
_TIE = 1e-4  # of a step, more than float32 is off

Tensors = Sequence[torch.Tensor]


def fake_quantized(x: torch.Tensor, quant: Quant) -> torch.Tensor:
    """Return ``x`` rounded to int8 and back; gradients pass where nothing is clipped."""
    shape = [1] * x.ndim
    if quant.axis is not None:
        shape[quant.axis] = -1
    scale = torch.tensor(quant.scales).reshape(shape)
    zero = torch.tensor(quant.zero_points).reshape(shape)
    least = -127 if quant.axis is not None else -128
    inside = torch.minimum(torch.maximum(x, (least - zero) * scale), (127 - zero) * scale)
    exact = x / scale + zero
    # Ties, which averages of few integers make, go away from zero as in the integer kernels.
    nearest = torch.sign(exact) * torch.floor(exact.abs() + (0.5 + _TIE))
    codes = torch.clamp(nearest, least, 127)
    return inside + ((codes - zero) * scale - inside).detach()


class FakeQuantised(nn.Module):
    """The module; its parameters are the weights and biases of the graph.

    Args:
        graph: a float graph of one input and output (`toolchain.quantization.prepare`).
        quants: of every activation (`toolchain.quantization.activations.activation_quants`).
    """

    def __init__(self, graph: Graph, quants: Mapping[str, Quant]) -> None:
        super().__init__()
        self.graph, self.quants = graph, quants
        self.weights, self.biases = nn.ParameterDict(), nn.ParameterDict()
        self.grids: dict[str, Quant] = {}
        for node in graph.nodes:
            if isinstance(node.op, _WEIGHTED):
                self._take(node, graph.operands(node))

    def _take(self, node: Node, operands: Operands) -> None:
        weights, bias = operands.input(1).values, operands.optional(2)
        axis = 3 if isinstance(node.op, DepthwiseConv2D) else 0
        channels = weights.shape[axis]
        self.grids[node.name] = weight_quant(weights, axis, np.zeros(channels))
        start = np.zeros(channels, np.float32) if bias is None else bias.values
        self.weights[node.name] = nn.Parameter(torch.tensor(weights))
        self.biases[node.name] = nn.Parameter(torch.tensor(start))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map a batch of inputs, in the layout of the graph, to outputs.

        Raises:
            ModelError: E202 for an operator that is not trained here.
        """
        values: dict[str, Any] = {
            name: torch.tensor(tensor.values)
            for name, tensor in self.graph.tensors.items()
            if tensor.is_constant
        }
        values[self.graph.inputs[0]] = fake_quantized(x, self.quants[self.graph.inputs[0]])
        for node in self.graph.nodes:
            given = [values[name] for name in node.inputs if name is not None]
            if isinstance(node.op, _WEIGHTED):
                weights = fake_quantized(self.weights[node.name], self.grids[node.name])
                given = [given[0], weights, self.biases[node.name]]
            made = _apply(node.op, self.graph.tensors[node.outputs[0]].shape, given)
            low, high = getattr(node.op, "activation", Activation.NONE).value
            clamped = torch.clamp(made, low, high)
            values[node.outputs[0]] = fake_quantized(clamped, self.quants[node.outputs[0]])
        return values[self.graph.outputs[0]]

    def tuned(self) -> Graph:
        """Return the float graph with the weights of now, on the grids that they carry."""
        added: list[Tensor] = []
        nodes = [self._tuned(node, added) for node in self.graph.nodes]
        return self.graph.with_nodes(nodes, added)

    def _tuned(self, node: Node, added: list[Tensor]) -> Node:
        if not isinstance(node.op, _WEIGHTED):
            return node
        quant = self.grids[node.name]
        codes = integers(self.weights[node.name].detach().numpy(), quant)
        weights = constant(f"{node.name}/tuned", _real(codes, quant), quant)
        bias = constant(f"{node.name}/bias", self.biases[node.name].detach().numpy())
        added += [weights, bias]
        return replace(node, inputs=(node.inputs[0], weights.name, bias.name))


def _real(codes: Array, quant: Quant) -> Array:
    shape = [1] * codes.ndim
    shape[quant.axis or 0] = -1
    return (codes * np.array(quant.scales).reshape(shape)).astype(np.float32)


def _apply(op: Op, shape: tuple[int, ...], given: Tensors) -> torch.Tensor:
    """Return what an operator makes of a batch, without its activation.

    Args:
        op: the operator.
        shape: of its output for one case.
        given: its inputs.
    """
    x = given[0]
    match op:
        case Conv2D() | DepthwiseConv2D():
            y = _convolved(op, *given)
        case FullyConnected():
            y = functional.linear(x.reshape(-1, given[1].shape[1]), given[1], given[2])
        case MaxPool2D() | AveragePool2D():
            y = _pooled(op, x)
        case Mean():
            y = x.mean(op.axes, keepdim=op.keep_dims)
        case Add():
            y = x + given[1]
        case Mul():
            y = x * given[1]
        case Relu():
            y = x
        case Reshape():
            y = x.reshape(len(x), *shape[1:])
        case Transpose():
            y = x.permute(op.perm)
        case _:
            raise ModelError("E202", f"{op.name} is not trained")
    return y


def _convolved(
    op: Conv2D | DepthwiseConv2D, x: torch.Tensor, weights: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    depthwise = isinstance(op, DepthwiseConv2D)
    kernel = weights.permute(3, 0, 1, 2) if depthwise else weights.permute(0, 3, 1, 2)
    groups = x.shape[3] // kernel.shape[1]
    padded = functional.pad(x.permute(0, 3, 1, 2), (*op.pads[2:], *op.pads[:2]))
    y = functional.conv2d(padded, kernel, bias, op.stride, 0, op.dilation, groups)
    return y.permute(0, 2, 3, 1)


def _pooled(op: MaxPool2D | AveragePool2D, x: torch.Tensor) -> torch.Tensor:
    average = isinstance(op, AveragePool2D)
    if average and any(op.pads):
        raise ModelError("E202", "average pools with padding are not trained")
    fill = 0.0 if average else -torch.inf
    padded = functional.pad(x.permute(0, 3, 1, 2), (*op.pads[2:], *op.pads[:2]), value=fill)
    function = functional.avg_pool2d if average else functional.max_pool2d
    return function(padded, op.kernel, op.stride).permute(0, 2, 3, 1)
