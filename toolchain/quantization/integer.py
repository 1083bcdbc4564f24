"""The integer graph of a float graph, once every activation has a quantisation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from toolchain.errors import ModelError
from toolchain.ir import Array, DType, Graph, Node, Operands, Quant, Tensor, constant, verify
from toolchain.ops import (
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Quantize,
    TransposeConv,
)
from toolchain.quantization.activations import SHARED
from toolchain.quantization.calibrate import Statistics
from toolchain.quantization.precision import INT8, Precision
from toolchain.quantization.ranges import Range
from toolchain.quantization.weights import integers, least_scales, weight_quant

WEIGHTED = (Conv2D, DepthwiseConv2D, FullyConnected, TransposeConv)


def quantize_graph(
    graph: Graph,
    quants: Mapping[str, Quant],
    statistics: Mapping[str, Statistics],
    precision: Precision = INT8,
    narrow: Mapping[str, Quant] | None = None,
) -> Graph:
    """Return the integer graph.

    Args:
        graph: a float graph.
        quants: of every float activation.
        statistics: for bias correction; tensors without are not corrected for.
        precision: types of activations and biases.
        narrow: int8 quantisations of float activations. With them, an operator that does not take
            the precision's activations computes in int8, between conversions.

    Raises:
        ModelError: E205, E206 if an operator cannot be executed with these scales.
    """
    return verify(_Draft(graph, quants, statistics, precision, narrow).result())


class _Draft:
    """The integer graph as it grows."""

    def __init__(
        self,
        graph: Graph,
        quants: Mapping[str, Quant],
        statistics: Mapping[str, Statistics],
        precision: Precision,
        narrow: Mapping[str, Quant] | None,
    ) -> None:
        self.graph, self.quants, self.statistics = graph, quants, statistics
        self.precision, self.narrow = precision, narrow
        self.tensors: dict[str, Tensor] = {}
        self.nodes: list[Node] = []
        for name, tensor in graph.tensors.items():
            if not tensor.is_constant:
                self.tensors[name] = self._activation(tensor)

    def result(self) -> Graph:
        for node in self.graph.nodes:
            if isinstance(node.op, WEIGHTED):
                self._weighted(node)
            elif self.narrow is not None and not self._takes(node):
                self._narrowed(node, self.narrow)
            elif isinstance(node.op, SHARED):
                self._shared(node)
            else:
                self.nodes.append(replace(node, inputs=self._inputs(node, None)))
        graph = replace(self.graph, nodes=tuple(self.nodes), tensors=self.tensors)
        return graph.with_nodes(graph.nodes)

    def _activation(self, tensor: Tensor) -> Tensor:
        if tensor.dtype is not DType.FLOAT32:
            return tensor
        dtype = self.precision.activations
        return replace(tensor, dtype=dtype, quant=self.quants[tensor.name])

    def _takes(self, node: Node) -> bool:
        """Tell whether an operator computes with the precision's activations."""
        operands = self.graph.operands(node)
        real = node.op.real_constants
        inputs = tuple(
            x if x is None or (real and x.is_constant) else self._known(x) for x in operands.inputs
        )
        outputs = tuple(self.tensors[y.name] for y in operands.outputs)
        try:
            node.op.infer(Operands(inputs, outputs))
        except ModelError:
            return False
        return True

    def _known(self, tensor: Tensor) -> Tensor:
        """Return an operand's type, that of a constant too."""
        if tensor.name in self.tensors or tensor.dtype is not DType.FLOAT32:
            return self.tensors.get(tensor.name, tensor)
        quant = _range_quant(tensor, self.precision)
        return replace(tensor, dtype=self.precision.activations, quant=quant, data=None)

    def _narrowed(self, node: Node, quants: Mapping[str, Quant]) -> None:
        """Add a node that computes in int8, between conversions."""
        inputs = tuple(
            None if name is None else self._narrow_input(node, name, quants) for name in node.inputs
        )
        outputs = [self.tensors[name] for name in node.outputs]
        made = [y if y.quant is None else self._as_int8(y, quants) for y in outputs]
        self.nodes.append(replace(node, inputs=inputs, outputs=tuple(y.name for y in made)))
        for inner, output in zip(made, outputs, strict=True):
            if inner is not output:
                self.tensors[inner.name] = inner
                self._convert(node, inner, output)

    def _narrow_input(self, node: Node, name: str, quants: Mapping[str, Quant]) -> str:
        tensor = self.graph.tensors[name]
        if tensor.dtype is not DType.FLOAT32:
            return name
        if tensor.is_constant:
            own = _range_quant(tensor, INT8)
            return self._constant(f"{name}/{node.name}", integers(tensor.values, own), own)
        made = self._as_int8(self.tensors[name], quants)
        if made.name not in self.tensors:
            self.tensors[made.name] = made
            self._convert(node, self.tensors[name], made)
        return made.name

    def _as_int8(self, tensor: Tensor, quants: Mapping[str, Quant]) -> Tensor:
        name, quant = f"{tensor.name} in int8", quants[tensor.name]
        return replace(tensor, name=name, dtype=DType.INT8, quant=quant)

    def _convert(self, node: Node, source: Tensor, target: Tensor) -> None:
        """Add a QUANTIZE node that serves ``node``."""
        name = f"quantize_{len(self.nodes)} {node.name}"
        self.nodes.append(Node(name, Quantize(), (source.name,), (target.name,)))

    def _inputs(self, node: Node, quant: Quant | None) -> tuple[str | None, ...]:
        """Return the inputs of a node, all of one quantisation if one is given."""
        return tuple(
            None if name is None else self._input(node, name, quant) for name in node.inputs
        )

    def _input(self, node: Node, name: str, quant: Quant | None) -> str:
        tensor = self.graph.tensors[name]
        if tensor.is_constant and node.op.real_constants:
            self.tensors[name] = tensor
            return name
        if tensor.is_constant:
            own = quant or tensor.quant or _range_quant(tensor, self.precision)
            codes = integers(tensor.values, own, self.precision.activations)
            return self._constant(f"{name}/{node.name}", codes, own)
        known = self.tensors[name]
        if quant is None or known.quant == quant:
            return name
        return self._requantized(node, known, quant)

    def _requantized(self, node: Node, tensor: Tensor, quant: Quant) -> str:
        """Return ``tensor`` in another quantisation, by a QUANTIZE node."""
        made = replace(tensor, name=f"{tensor.name} for {node.name}", quant=quant)
        if made.name not in self.tensors:
            self.tensors[made.name] = made
            self._convert(node, tensor, made)
        return made.name

    def _constant(self, name: str, values: Array, quant: Quant | None = None) -> str:
        self.tensors[name] = constant(name, values, quant)
        return name

    def _shared(self, node: Node) -> None:
        """Add a node whose inputs and outputs need one quantisation, that of its first output.

        Pools average and compare before they round to the output, so they keep their input's.
        """
        operands = self.graph.operands(node)
        quant = self.quants[node.outputs[0]]
        if len(operands.activations) == 1 and len(node.outputs) == 1:
            source = self.tensors[operands.activations[0].name]
            if source.quant is not None and source.quant != quant:
                self._after(node, source.quant)
                return
        self.nodes.append(replace(node, inputs=self._inputs(node, quant)))

    def _after(self, node: Node, quant: Quant) -> None:
        """Add a node in its input's quantisation and a QUANTIZE to its output's."""
        output = self.tensors[node.outputs[0]]
        inner = replace(output, name=f"{output.name} before", quant=quant)
        self.tensors[inner.name] = inner
        inputs = self._inputs(node, quant)
        self.nodes.append(replace(node, inputs=inputs, outputs=(inner.name,)))
        self._convert(node, inner, output)

    def _weighted(self, node: Node) -> None:
        operands = self.graph.operands(node)
        x, weights, old = operands.input(0), operands.input(1), operands.optional(2)
        axis = 3 if isinstance(node.op, DepthwiseConv2D) else 0
        channels = weights.shape[axis]
        bias = np.zeros(channels) if old is None else old.values.astype(np.float64)
        x_scale = self.quants[x.name].scale
        finest = self.precision.least_ratio * self.quants[node.outputs[0]].scale / x_scale
        least = np.maximum(least_scales(bias, x_scale, self.precision.largest_bias), finest)
        quant = weights.quant or weight_quant(weights.values, axis, least)
        codes = integers(weights.values, quant)
        scales = np.array(quant.scales, np.float64)
        if weights.quant is None and x.name in self.statistics:
            shape = [1] * codes.ndim
            shape[axis] = -1
            error = codes * scales.reshape(shape) - weights.values
            bias = bias - mean_error(node, error, self.statistics[x.name], channels)
        most = 2 * self.precision.largest_bias
        whole = np.clip(np.rint(bias / (scales * x_scale)), -most, most - 1)
        inputs = (
            x.name,
            self._constant(f"{node.name}/weights", codes, quant),
            self._constant(f"{node.name}/bias", whole.astype(self.precision.bias.numpy)),
        )
        self.nodes.append(replace(node, inputs=inputs))


def _range_quant(tensor: Tensor, precision: Precision) -> Quant:
    """Return the quantisation that holds all values of a constant."""
    return precision.quant_of(Range(float(tensor.values.min()), float(tensor.values.max())))


def mean_error(node: Node, error: Array, seen: Statistics, channels: int) -> Array:
    """Return what rounded weights add to the mean of every output channel.

    Reference: M. Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias
    Correction", ICCV 2019, section 4.2, with means measured instead of derived.

    Args:
        node: a node with weights.
        error: of the weights, in their shape.
        seen: what the node's input took.
        channels: outputs.
    """
    means = seen.channel_means
    if isinstance(node.op, DepthwiseConv2D):
        return np.asarray(error.sum(axis=(0, 1, 2)) * np.repeat(means, channels // len(means)))
    if isinstance(node.op, TransposeConv):
        return np.zeros(channels)  # how many inputs meet an output changes from place to place
    if isinstance(node.op, FullyConnected):
        repeats = error.shape[1] // len(means)
        return np.asarray(error @ np.tile(means, repeats))
    summed = error.sum(axis=(1, 2))  # (O, C / groups)
    groups = len(means) // summed.shape[1]
    grouped = summed.reshape(groups, -1, summed.shape[1])
    return np.asarray(np.einsum("goc,gc->go", grouped, means.reshape(groups, -1)).reshape(channels))
