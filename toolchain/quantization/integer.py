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
from toolchain.quantization.grids import Grids
from toolchain.quantization.precision import INT8, Precision
from toolchain.quantization.ranges import Range
from toolchain.quantization.weights import integers, weight_quant

WEIGHTED = (Conv2D, DepthwiseConv2D, FullyConnected, TransposeConv)


def quantize_graph(graph: Graph, grids: Grids, statistics: Mapping[str, Statistics]) -> Graph:
    """Return the integer graph.

    An operator that has no 16-bit form computes in int8, between conversions.

    Args:
        graph: a float graph.
        grids: of its activations.
        statistics: for bias correction; tensors without are not corrected for.

    Raises:
        ModelError: E205, E206 if an operator cannot be executed with these scales.
    """
    return verify(_Draft(graph, grids, statistics).result())


class _Draft:
    """The integer graph as it grows."""

    def __init__(self, graph: Graph, grids: Grids, statistics: Mapping[str, Statistics]) -> None:
        self.graph, self.grids, self.statistics = graph, grids, statistics
        self.tensors: dict[str, Tensor] = {}
        self.nodes: list[Node] = []
        for name, tensor in graph.tensors.items():
            if not tensor.is_constant:
                self.tensors[name] = self._form(tensor, grids.precision(name))

    def result(self) -> Graph:
        for node in self.graph.nodes:
            precision = self._precision(node)
            if isinstance(node.op, WEIGHTED):
                self._add(node, self._weights(node, precision), precision)
            elif isinstance(node.op, SHARED):
                self._shared(node, precision)
            else:
                self._add(node, self._inputs(node, precision), precision)
        graph = replace(self.graph, nodes=tuple(self.nodes), tensors=self.tensors)
        return graph.with_nodes(graph.nodes)

    def _form(self, tensor: Tensor, precision: Precision) -> Tensor:
        """Return an activation's integer tensor."""
        if tensor.dtype is not DType.FLOAT32:
            return tensor
        quant = self.grids.quant(tensor.name, precision)
        return replace(tensor, dtype=precision.activations, quant=quant)

    def _precision(self, node: Node) -> Precision:
        """Return the precision that a node computes in."""
        precision = self.grids.computing(node)
        if precision is INT8 or isinstance(node.op, WEIGHTED):
            return precision
        operands = self.graph.operands(node)
        shared = isinstance(node.op, SHARED)
        quant = self.grids.quant(node.outputs[0], precision) if shared else None
        inputs = tuple(x and self._operand(node, x, precision, quant) for x in operands.inputs)
        outputs = tuple(self._operand(node, y, precision, quant) for y in operands.outputs)
        try:
            node.op.infer(Operands(inputs, outputs))
        except ModelError:
            return INT8
        return precision

    def _operand(
        self, node: Node, tensor: Tensor, precision: Precision, quant: Quant | None
    ) -> Tensor:
        """Return the integer tensor of an operand, of its own quantisation or one that is given."""
        real = tensor.is_constant and node.op.real_constants
        if tensor.dtype is not DType.FLOAT32 or real:
            return tensor
        own = quant or (
            _range_quant(tensor, precision)
            if tensor.is_constant
            else self.grids.quant(tensor.name, precision)
        )
        return replace(tensor, dtype=precision.activations, quant=own, data=None)

    def _add(
        self,
        node: Node,
        inputs: tuple[str | None, ...],
        precision: Precision,
        quant: Quant | None = None,
    ) -> None:
        """Add a node, and conversions of what it makes to the tensors' own forms.

        Args:
            node: of the float graph.
            inputs: their integer tensors.
            precision: that it computes in.
            quant: of what it makes, where that is not the outputs' in this precision.
        """
        made = [self._made(name, precision, quant) for name in node.outputs]
        self.nodes.append(replace(node, inputs=inputs, outputs=tuple(y.name for y in made)))
        for inner, name in zip(made, node.outputs, strict=True):
            if inner.name != name:
                self._convert(node, inner, self.tensors[name])

    def _made(self, name: str, precision: Precision, quant: Quant | None) -> Tensor:
        """Return the tensor that a node makes of an output."""
        known = self.tensors[name]
        if known.quant is None:
            return known
        own = self.grids.quant(name, precision)
        wanted = quant or own
        if (known.dtype, known.quant) == (precision.activations, wanted):
            return known
        label = f"{name} in {precision.name}" if wanted == own else f"{name} before"
        made = replace(known, name=label, dtype=precision.activations, quant=wanted)
        return self.tensors.setdefault(made.name, made)

    def _convert(self, node: Node, source: Tensor, target: Tensor) -> None:
        """Add a QUANTIZE node that serves ``node``."""
        name = f"quantize_{len(self.nodes)} {node.name}"
        self.nodes.append(Node(name, Quantize(), (source.name,), (target.name,)))

    def _inputs(
        self, node: Node, precision: Precision, quant: Quant | None = None
    ) -> tuple[str | None, ...]:
        """Return the inputs of a node, all of one quantisation if one is given."""
        return tuple(
            None if name is None else self._input(node, name, precision, quant)
            for name in node.inputs
        )

    def _input(self, node: Node, name: str, precision: Precision, quant: Quant | None) -> str:
        tensor = self.graph.tensors[name]
        if tensor.dtype is not DType.FLOAT32 or (tensor.is_constant and node.op.real_constants):
            return self._kept(tensor)
        if tensor.is_constant:
            own = quant or tensor.quant or _range_quant(tensor, precision)
            codes = integers(tensor.values, own, precision.activations)
            return self._constant(f"{name}/{node.name}", codes, own)
        known, form = self.tensors[name], self._form(tensor, precision)
        if quant is not None and quant != form.quant:
            form = replace(form, name=f"{name} for {node.name}", quant=quant)
        elif known.dtype is not form.dtype:
            form = replace(form, name=f"{name} in {precision.name}")
        if form.name not in self.tensors:
            self.tensors[form.name] = form
            self._convert(node, known, form)
        return form.name

    def _kept(self, tensor: Tensor) -> str:
        """Return the name of a tensor that stays as it is."""
        self.tensors.setdefault(tensor.name, tensor)
        return tensor.name

    def _constant(
        self, name: str, values: Array, quant: Quant | None = None, dtype: DType | None = None
    ) -> str:
        self.tensors[name] = constant(name, values, quant, dtype)
        return name

    def _shared(self, node: Node, precision: Precision) -> None:
        """Add a node whose inputs and outputs need one quantisation, that of its first output.

        Pools average and compare before they round to the output, so they keep their input's.
        """
        activations = self.graph.operands(node).activations
        name = node.outputs[0]
        if self.tensors[name].quant is None:
            self._add(node, self._inputs(node, precision), precision)
            return
        quant = self.grids.quant(name, precision)
        if len(activations) == 1 and len(node.outputs) == 1:
            quant = self._form(activations[0], precision).quant or quant
        self._add(node, self._inputs(node, precision, quant), precision, quant)

    def _weights(self, node: Node, precision: Precision) -> tuple[str | None, ...]:
        """Return the inputs of a node with weights; add their integers."""
        operands = self.graph.operands(node)
        x, weights, old = operands.input(0), operands.input(1), operands.optional(2)
        axis = 3 if isinstance(node.op, DepthwiseConv2D) else 0
        channels = weights.shape[axis]
        bias = np.zeros(channels) if old is None else old.values.astype(np.float64)
        least = self.grids.least_scales(node, bias)
        dtype = self.grids.weights(node)
        quant = weights.quant or weight_quant(weights.values, axis, least, dtype)
        codes = integers(weights.values, quant, dtype)
        scales = np.array(quant.scales, np.float64)
        if weights.quant is None and x.name in self.statistics:
            shape = [1] * codes.ndim
            shape[axis] = -1
            error = codes * scales.reshape(shape) - weights.values
            bias = bias - mean_error(node, error, self.statistics[x.name], channels)
        most = 2 * precision.largest_bias
        steps = scales * self.grids.quant(x.name, precision).scale
        whole = np.clip(np.rint(bias / steps), -most, most - 1)
        return (
            self._input(node, x.name, precision, None),
            self._constant(f"{node.name}/weights", codes, quant, dtype),
            self._constant(f"{node.name}/bias", whole.astype(precision.bias.numpy)),
        )


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
