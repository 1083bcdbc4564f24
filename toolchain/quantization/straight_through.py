"""An integer graph on batches in PyTorch: exact values forward, straight-through gradients back.

Values are the interpreter's: every operator's own integer meaning, on a batch of cases. Gradients
are those of real numbers, which stop where a value is clipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from toolchain.errors import ModelError
from toolchain.ir import Array, DType, Graph, Node, Operands, Tensor, constant
from toolchain.numerics import Activation, clamp_range
from toolchain.ops import (
    Concat,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Op,
    Reshape,
    StridedSlice,
)
from toolchain.quantization.gradients import GRADIENTS
from toolchain.quantization.weights import greatest

_WEIGHTED = (Conv2D, DepthwiseConv2D, FullyConnected)
_ACTIVATIONS = (DType.INT8, DType.INT16)


@dataclass(frozen=True, eq=False)
class Trained:
    """A constant whose values are trained.

    Attributes:
        tensor: the constant.
        step: real value of one step of its grid, float64, to be broadcast against the codes.
        unit: real value of one unit of the parameter, likewise.
        limits: least and greatest code.
    """

    tensor: Tensor
    step: Array
    unit: Array
    limits: tuple[int, int]

    def start(self) -> Any:
        """Return the parameter, float64: biases may have more bits than float32 holds."""
        from torch import from_numpy, nn

        return nn.Parameter(from_numpy(self.tensor.values * (self.step / self.unit)))

    def codes(self, parameter: Any) -> Array:
        """Return the integers of a parameter, rounded half to even."""
        codes = np.rint(parameter.detach().double().numpy() * (self.unit / self.step))
        return np.asarray(np.clip(codes, *self.limits), self.tensor.dtype.numpy)

    def real(self, parameter: Any, codes: Array) -> Any:
        """Return real values of ``codes``, whose gradients go to the parameter unless clipped."""
        import torch

        low, high = (torch.from_numpy(limit * self.step) for limit in self.limits)
        real = parameter * torch.from_numpy(self.unit)
        inside = torch.minimum(torch.maximum(real, low), high).float()
        return _straight_through(inside, codes * self.step)


class Network:
    """The graph, and what it computes for a batch."""

    def __init__(self, graph: Graph) -> None:
        """See `toolchain.quantization.finetune.fake_quantised`."""
        if graph.states:
            raise ModelError("E202", "states are not trained")
        self.graph = graph
        self.trained = list(_trained(graph))
        tuned = {one.tensor.name for one in self.trained}
        self.kept = [x for n, x in graph.tensors.items() if x.is_constant and n not in tuned]
        for node in graph.nodes:
            _check(node, graph.operands(node))

    def with_parameters(self, parameters: Sequence[Any]) -> Graph:
        """Return the graph with the integers of ``parameters``, one per element of `trained`."""
        tuned = [
            constant(one.tensor.name, one.codes(parameter), one.tensor.quant, one.tensor.dtype)
            for one, parameter in zip(self.trained, parameters, strict=True)
        ]
        return self.graph.with_nodes(self.graph.nodes, tuned)

    def forward(self, parameters: Sequence[Any], inputs: Sequence[Any]) -> Any:
        """Return the real outputs for a batch of real inputs."""
        import torch

        count = len(inputs[0])
        codes = {tensor.name: tensor.values for tensor in self.kept}
        reals = {
            tensor.name: torch.from_numpy(_real(tensor, tensor.values)) for tensor in self.kept
        }
        for one, parameter in zip(self.trained, parameters, strict=True):
            name = one.tensor.name
            codes[name] = one.codes(parameter)
            reals[name] = one.real(parameter, codes[name])
        for tensor, x in zip(self.graph.input_tensors, inputs, strict=True):
            codes[tensor.name] = _codes(tensor, x.detach().double().numpy())
            reals[tensor.name] = _clipped(x, tensor, tensor.dtype.limits, codes[tensor.name])
        for node in self.graph.nodes:
            self._compute(node, codes, reals, count)
        outputs = tuple(reals[name] for name in self.graph.outputs)
        return outputs[0] if len(outputs) == 1 else outputs

    def _compute(
        self, node: Node, codes: dict[str, Array], reals: dict[str, Any], count: int
    ) -> None:
        """Add what a node makes of a batch of ``count`` cases."""
        names = [name for name in node.inputs if name is not None]
        one = self.graph.operands(node)
        op, operands = _batched(node.op, one, codes, count)
        given = [
            None if x is None else x.values if x.is_constant else codes[x.name]
            for x in operands.inputs
        ]
        made = op.reference(operands, given)
        soft = GRADIENTS[type(node.op)](node.op, one, [reals[name] for name in names])
        activation = getattr(node.op, "activation", Activation.NONE)
        parts = soft if isinstance(soft, tuple) else (soft,)
        for y, values, part in zip(one.outputs, made, parts, strict=True):
            limits = clamp_range(activation, y)
            codes[y.name], reals[y.name] = values, _clipped(part, y, limits, values)


def _trained(graph: Graph) -> Iterator[Trained]:
    """Yield the weights and biases of a graph, each once."""
    seen: set[str] = set()
    for node in graph.nodes:
        if not isinstance(node.op, _WEIGHTED):
            continue
        operands = graph.operands(node)
        x, weights, bias = operands.input(0), operands.input(1), operands.optional(2)
        quant = weights.quant
        kinds = (DType.INT8, DType.INT4)
        if weights.dtype not in kinds or quant is None or any(quant.zero_points):
            raise _not_trained(node, "weights that are not int8 or int4 around zero")
        scales = np.array(quant.scales, np.float64)
        shape = [1] * len(weights.shape)
        if quant.axis is not None:
            shape[quant.axis] = -1
        steps, most = scales.reshape(shape), greatest(weights.dtype)
        low = min(-most, int(weights.values.min()))
        found = [Trained(weights, steps, steps, (low, most))]
        if bias is not None:
            unit = np.array(operands.output.scale)
            found.append(Trained(bias, scales * x.scale, unit, DType.INT32.limits))
        for one in found:
            if one.tensor.name not in seen:
                seen.add(one.tensor.name)
                yield one


def _check(node: Node, operands: Operands) -> None:
    """Raise E202 unless a node can be trained on batches."""
    if type(node.op) not in GRADIENTS:
        raise _not_trained(node, f"the operator {node.op.name}")
    tensors = [*operands.activations, *operands.outputs]
    if any(x.dtype not in _ACTIVATIONS for x in tensors):
        raise _not_trained(node, "activations that are neither int8 nor int16")
    op, batched = _batched(node.op, operands, {}, 2)
    try:
        shapes = [made.shape for made in op.infer(batched)]
    except ModelError:
        shapes = []
    apart = all(x.shape[:1] == (1,) for x in tensors)
    if not apart or shapes != [y.shape for y in batched.outputs]:
        raise _not_trained(node, "an operator that mixes the cases of a batch")


def _not_trained(node: Node, what: str) -> ModelError:
    where = f'node "{node.name}" ({node.op.name})'
    return ModelError("E202", f"{what} cannot be trained", where=where)


def _batched(
    op: Op, operands: Operands, codes: Mapping[str, Array], count: int
) -> tuple[Op, Operands]:
    """Return operator and tensors of a node for ``count`` cases, with the constants of now."""

    def grown(tensor: Tensor | None) -> Any:
        if tensor is None or not tensor.is_constant:
            return tensor and replace(tensor, shape=(count, *tensor.shape[1:]))
        data = codes.get(tensor.name, tensor.data)
        if isinstance(op, Concat) and data is not None and len(data) == 1:
            data = np.repeat(data, count, axis=0)
        return replace(tensor, data=data, shape=tensor.shape if data is None else data.shape)

    if isinstance(op, Reshape):
        op = replace(op, shape=(count, *op.shape[1:]))
    if isinstance(op, StridedSlice) and (op.begin[0], op.end[0], op.strides[0]) == (0, 1, 1):
        op = replace(op, end=(count, *op.end[1:]))
    inputs, outputs = (tuple(map(grown, side)) for side in (operands.inputs, operands.outputs))
    return op, Operands(inputs, outputs)


def _codes(tensor: Tensor, real: Array) -> Array:
    """Return the integers of real inputs, rounded half to even."""
    codes = np.rint(real / tensor.scale) + tensor.zero_point
    return np.asarray(np.clip(codes, *tensor.dtype.limits), tensor.dtype.numpy)


def _real(tensor: Tensor, codes: Array) -> Array:
    if tensor.quant is None:
        return np.array(codes, np.float32)
    return np.asarray((codes.astype(np.float64) - tensor.zero_point) * tensor.scale, np.float32)


def _clipped(soft: Any, tensor: Tensor, limits: tuple[int, int], codes: Array) -> Any:
    """Return the real values of ``codes`` with the gradient of ``soft`` inside of ``limits``."""
    low, high = ((limit - tensor.zero_point) * tensor.scale for limit in limits)
    return _straight_through(soft.clamp(low, high), _real(tensor, codes))


def _straight_through(soft: Any, exact: Array) -> Any:
    """Return exactly ``exact``, with the gradient of ``soft``."""
    import torch

    return torch.from_numpy(np.asarray(exact, np.float32)) + (soft - soft.detach())
