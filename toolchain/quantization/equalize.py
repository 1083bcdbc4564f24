"""Cross-layer equalisation: channels of one tensor are brought to like ranges.

The first layer may be a layer normalisation, whose gain and offset are divided.

A channel that a layer makes smaller by a factor, and the next layer's weights larger by the same,
changes nothing in real numbers, as long as only positively homogeneous operators lie between. A
tensor has one scale for all its channels, so that small channels gain precision.

References: M. Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias
Correction", ICCV 2019, section 4.1; G. Xiao et al., "SmoothQuant", ICML 2023, equation 4, for
measured activations in the place of the first layer's weights, which have a scale per channel here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from toolchain.ir import Array, Graph, Node, Tensor, constant
from toolchain.numerics import Activation
from toolchain.ops import (
    AveragePool2D,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    LayerNorm,
    MaxPool2D,
    Mean,
    Pad,
    Relu,
    Reshape,
)
from toolchain.quantization.calibrate import Cases, require_finite
from toolchain.quantization.precision import INT8, INT16
from toolchain.reference import trace_float

_HOMOGENEOUS = (Activation.NONE, Activation.RELU)
_PASSING = (AveragePool2D, MaxPool2D, Mean, Pad, Relu, Reshape)
_LIMIT = 64.0  # between the factors of a tensor's largest and smallest channel

Floats = npt.NDArray[np.float64]
Weighted = Conv2D | DepthwiseConv2D | FullyConnected
Scaled = Weighted | LayerNorm


@dataclass(frozen=True)
class _Pair:
    """Two layers with weights, by name, and the tensors between them whose channels are scaled."""

    first: str
    second: str
    tensors: tuple[str, ...]


def equalize(graph: Graph, cases: Cases, wide: Collection[str] = ()) -> Graph:
    """Return a float graph of the same outputs whose channels are nearer to each other.

    Tensors whose channels were scaled have other names.

    Args:
        graph: a float graph.
        cases: sample inputs.
        wide: names of activations that get int16; between them weights alone need even channels.

    Raises:
        UsageError: E115 if a tensor takes a value that is not finite.
    """
    pairs = _pairs(graph)
    peaks = _peaks(graph, cases, [pair.tensors[0] for pair in pairs])
    nodes = {node.name: node for node in graph.nodes}
    tensors = dict(graph.tensors)
    for pair in pairs:
        first, second = nodes[pair.first], nodes[pair.second]
        weights = tensors[second.inputs[1] or ""].values
        precision = INT16 if pair.tensors[0] in wide else INT8
        factors = _factors(peaks[pair.tensors[0]], second, weights, precision.migration)
        nodes[first.name] = _divided(first, factors, tensors)
        nodes[second.name] = _multiplied(second, factors, tensors)
    scaled = {name for pair in pairs for name in pair.tensors}
    renamed = {name: _unused(f"{name} equalized", tensors) for name in tensors if name in scaled}
    tensors.update((new, replace(tensors[old], name=new)) for old, new in renamed.items())
    kept = [_with_names(nodes[node.name], renamed) for node in graph.nodes]
    return graph.with_nodes(kept, tensors.values())


def _peaks(graph: Graph, cases: Cases, names: Sequence[str]) -> Mapping[str, Floats]:
    """Return the greatest magnitude of every channel of some tensors, shape (channels,)."""
    peaks = {name: np.zeros(graph.tensors[name].shape[-1]) for name in names}
    for number, case in enumerate(cases):
        values = trace_float(graph, case)
        for name, old in peaks.items():
            seen = np.abs(values[name]).reshape(-1, len(old)).max(axis=0)
            require_finite(float(seen.sum()), name, number)
            peaks[name] = np.maximum(old, seen)
    return peaks


def _with_names(node: Node, renamed: Mapping[str, str]) -> Node:
    inputs = tuple(None if n is None else renamed.get(n, n) for n in node.inputs)
    return replace(node, inputs=inputs, outputs=tuple(renamed.get(n, n) for n in node.outputs))


def _pairs(graph: Graph) -> list[_Pair]:
    found = []
    for node in graph.nodes:
        activation = getattr(node.op, "activation", Activation.NONE)
        if not isinstance(node.op, Scaled) or activation not in _HOMOGENEOUS:
            continue
        between, second = _path(graph, node)
        if second is not None and not _bound(graph, node) and not _bound(graph, second):
            found.append(_Pair(node.name, second.name, between))
    return found


def _bound(graph: Graph, node: Node) -> bool:
    """Tell whether the weights of a layer carry a quantisation that they must keep."""
    weights = graph.operands(node).optional(1)
    return weights is not None and weights.quant is not None


def _path(graph: Graph, node: Node) -> tuple[tuple[str, ...], Node | None]:
    """Return the layer that alone reads the channels of ``node``, and the tensors up to there."""
    between = [node.outputs[0]]
    channels = graph.tensors[between[0]].shape[-1]
    while True:
        tensor, readers = graph.tensors[between[-1]], graph.consumers[between[-1]]
        if tensor.name in graph.sinks or tensor.quant or len(readers) != 1:
            return (), None
        (reader,) = readers
        if isinstance(reader.op, Weighted):
            return tuple(between), reader if _takes(graph, reader, channels) else None
        if not _passes(graph, reader) or tensor.shape[-1] % channels:
            return (), None
        between += reader.outputs


def _passes(graph: Graph, node: Node) -> bool:
    """Tell whether every channel of the output is made of that channel, and grows with it."""
    if not isinstance(node.op, _PASSING) or getattr(node.op, "value", None):
        return False
    rank = len(graph.operands(node).input(0).shape)
    along = isinstance(node.op, Mean) and rank - 1 in node.op.axes
    padded = isinstance(node.op, Pad) and bool(node.op.before[-1] or node.op.after[-1])
    activation = getattr(node.op, "activation", Activation.NONE)
    return not along and not padded and activation in _HOMOGENEOUS


def _takes(graph: Graph, node: Node, channels: int) -> bool:
    """Tell whether the layer's weights can take a factor for every input channel."""
    x, weights = graph.operands(node).input(0), graph.operands(node).input(1)
    if isinstance(node.op, FullyConnected):
        return weights.shape[1] % channels == 0
    return x.shape[-1] == channels and (
        isinstance(node.op, DepthwiseConv2D) or weights.shape[3] == channels
    )


def _factors(peaks: Floats, second: Node, weights: Array, migration: float) -> Floats:
    """Return what the channels are divided by.

    Where every channel meets weights of its own scale (depthwise), all get the same range. Else
    ``migration`` shares the loss between the activation and the weights that read it.
    """
    factors: Floats = peaks / max(float(peaks.max()), 1e-30)
    if not isinstance(second.op, DepthwiseConv2D):
        rows = np.abs(weights.astype(np.float64)).reshape(len(weights), -1, len(peaks))
        shares = rows / np.maximum(rows.max(axis=(1, 2), keepdims=True), 1e-30)
        even = shares.max(axis=(0, 1)) ** (1 - migration)
        factors = factors**migration / np.maximum(even, 1 / _LIMIT)
    factors = np.clip(factors / max(float(factors.max()), 1e-30), 1 / _LIMIT, 1.0)
    balanced: Floats = factors / np.exp(np.log(factors).mean())
    return balanced


def _divided(node: Node, factors: Floats, tensors: dict[str, Tensor]) -> Node:
    """Return a layer whose output channels are divided by ``factors``."""
    if isinstance(node.op, LayerNorm):
        gain, offset, *_ = (*node.inputs[1:], None, None)
        ones = np.ones(len(factors)) if gain is None else tensors[gain].values
        parts = [_added(tensors, gain or f"{node.name}/gain", ones / factors)]
        if offset is not None:
            parts.append(_added(tensors, offset, tensors[offset].values / factors))
        return replace(node, inputs=(node.inputs[0], *parts))
    weights = tensors[node.inputs[1] or ""].values
    shape = [1] * weights.ndim
    shape[weights.ndim - 1 if isinstance(node.op, DepthwiseConv2D) else 0] = -1
    inputs = [node.inputs[0], _added(tensors, node.inputs[1], weights / factors.reshape(shape))]
    if len(node.inputs) > 2 and node.inputs[2]:
        inputs.append(_added(tensors, node.inputs[2], tensors[node.inputs[2]].values / factors))
    return replace(node, inputs=tuple(inputs))


def _multiplied(node: Node, factors: Floats, tensors: dict[str, Tensor]) -> Node:
    """Return a layer whose weights for every input channel are multiplied by ``factors``."""
    weights = tensors[node.inputs[1] or ""].values
    last = weights.shape[-1]
    depthwise = isinstance(node.op, DepthwiseConv2D)
    repeats = last // len(factors)
    spread = np.repeat(factors, repeats) if depthwise else np.tile(factors, repeats)
    name = _added(tensors, node.inputs[1], weights * spread)
    return replace(node, inputs=(node.inputs[0], name, *node.inputs[2:]))


def _added(tensors: dict[str, Tensor], label: str | None, values: Array) -> str:
    """Add a constant and return its name; the tensor it is made from may have other readers."""
    name = _unused(f"{label} equalized", tensors)
    tensors[name] = constant(name, np.asarray(values, np.float32))
    return name


def _unused(name: str, tensors: Mapping[str, Tensor]) -> str:
    while name in tensors:
        name += "'"
    return name
