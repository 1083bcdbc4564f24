"""Rounding by layer-wise reconstruction: weights and biases that make up for what rounding loses.

Every layer is given the inputs that the quantised layers before it really make. Its weights are
fitted to the float outputs, then rounded one input at a time, where what a rounding loses is made
up for by the weights that are still to be rounded; last, the bias takes what is left of the mean
error.

References: E. Frantar et al., "GPTQ", ICLR 2023, section 3 (rounding); Y. Li et al., "BRECQ", ICLR
2021, section 3 (inputs of quantised layers, outputs of float ones); M. Nagel et al., "Data-Free
Quantization Through Weight Equalization and Bias Correction", ICCV 2019, section 4.2 (biases).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from toolchain.ir import Array, Graph, Node, Operands, Quant, Tensor, constant
from toolchain.ops import Conv2D, DepthwiseConv2D, FullyConnected
from toolchain.quantization.adaround import learned
from toolchain.quantization.calibrate import Cases
from toolchain.quantization.grids import Grids
from toolchain.quantization.least_squares import Values, fitted, moments, rounded_at_best
from toolchain.quantization.weights import greatest, weight_quant
from toolchain.reference.operators import evaluate

_ROWS = 4096  # outputs per layer that weights are fitted to
_BYTES = 2**28  # of activations held at once
_FEWEST = 8  # cases, however large
_WIDEST = 2304  # inputs per output; the work grows with the third power
_SEED = 20

Refined = Conv2D | DepthwiseConv2D | FullyConnected


@dataclass(frozen=True)
class _Sample:
    """What one layer is given and should make at some of its outputs.

    Attributes:
        x: inputs, shape (groups, rows, inputs per output).
        y: outputs without bias and activation, shape (groups, rows, outputs per group).
    """

    x: Values
    y: Values


def reconstruct(graph: Graph, cases: Cases, grids: Grids, *, adaround: bool = False) -> Graph:
    """Return a float graph whose weights lie on their int8 grids, which they carry.

    Weights that carry a quantisation already, and those of layers with very many inputs, stay.

    Args:
        graph: a float graph.
        cases: sample inputs; as many are used as memory allows.
        grids: of every float activation.
        adaround: improve the rounding by `toolchain.quantization.adaround`, which needs PyTorch.
    """
    width = sum(t.nbytes for t in graph.tensors.values() if not t.is_constant)
    kept = cases[: max(_FEWEST, _BYTES // max(2 * width, 1))]
    return _Pass(graph, kept, grids, adaround=adaround).result()


class _Pass:
    """One pass over the nodes, with all cases side by side.

    Attributes:
        real: values of the float graph, per case.
        made: values of the graph as it is quantised so far, per case.
    """

    def __init__(self, graph: Graph, cases: Cases, grids: Grids, *, adaround: bool) -> None:
        self.graph, self.grids, self.adaround = graph, grids, adaround
        self.rng = np.random.default_rng(_SEED)
        self.tensors: dict[str, Tensor] = dict(graph.tensors)
        known = {n: t.values for n, t in graph.tensors.items() if t.is_constant}
        ports = [dict(zip(graph.inputs, case, strict=True)) for case in cases]
        self.real: list[dict[str, Array]] = [{**known, **port} for port in ports]
        self.made = [{**known, **{n: grids.rounded(n, v) for n, v in p.items()}} for p in ports]
        last = {name: node.name for node in graph.nodes for name in node.inputs if name}
        self.last = {name: node for name, node in last.items() if name not in graph.sinks}

    def result(self) -> Graph:
        nodes = [self._node(node) for node in self.graph.nodes]
        return self.graph.with_nodes(nodes, self.tensors.values())

    def _node(self, node: Node) -> Node:
        operands = self.graph.operands(node)
        new = self._refined(node, operands) if _is_free(node, operands) else node
        done = [name for name in node.inputs if name and self.last.get(name) == node.name]
        for real, made in zip(self.real, self.made, strict=True):
            real.update(zip(node.outputs, _run(node, operands, real), strict=True))
            results = _run(new, operands, made)
            pairs = zip(node.outputs, results, strict=True)
            made.update((name, self.grids.rounded(name, values)) for name, values in pairs)
            for name in dict.fromkeys(done):
                del real[name], made[name]
        return new

    def _refined(self, node: Node, operands: Operands) -> Node:
        weights, old = operands.input(1), operands.optional(2)
        axis = 3 if isinstance(node.op, DepthwiseConv2D) else 0
        bias = np.zeros(weights.shape[axis]) if old is None else old.values.astype(np.float64)
        sample = self._sample(node, operands)
        second = moments(sample.x)
        matrix = _matrix(node, weights.values, len(sample.x))
        wanted = fitted(second, sample.x, sample.y, matrix)
        least = self.grids.least_scales(node, bias)
        dtype = self.grids.weights(node)
        start = weight_quant(_shaped(node, wanted, weights.shape), axis, least, dtype)
        shape = wanted.shape[:2]
        values, scales = rounded_at_best(
            second,
            wanted,
            np.array(start.scales).reshape(shape),
            least.reshape(shape),
            self.grids.scale_tries(node),
            greatest(dtype),
        )
        if self.adaround:
            values = learned(second, wanted, values, scales, greatest(dtype))
        quant = replace(start, scales=tuple(map(float, scales.reshape(-1))))
        error = sample.y - sample.x @ values.swapaxes(1, 2)
        corrected = bias + error.mean(axis=1, dtype=np.float64).reshape(-1)
        final = _shaped(node, values, weights.shape)
        inputs = (
            node.inputs[0],
            self._constant(f"{node.name}/rounded", final, quant),
            self._constant(f"{node.name}/corrected", corrected),
        )
        return replace(node, inputs=inputs)

    def _constant(self, name: str, values: Array, quant: Quant | None = None) -> str:
        tensor = constant(name, np.asarray(values, np.float32), quant)
        self.tensors[name] = tensor
        for made in self.made:
            made[name] = tensor.values
        return name

    def _sample(self, node: Node, operands: Operands) -> _Sample:
        """Return inputs as quantised layers make them, and outputs as float layers make them."""
        source = node.inputs[0] or ""
        places = operands.output.size // operands.output.shape[-1]
        count = min(-(-_ROWS // len(self.real)), places)
        xs, ys = [], []
        for real, made in zip(self.real, self.made, strict=True):
            chosen = self.rng.permutation(places)[:count]
            xs.append(_patches(node, operands, made[source], chosen))
            ys.append(_patches(node, operands, real[source], chosen))
        real_x = np.concatenate(ys, axis=1)
        matrix = _matrix(node, operands.input(1).values, len(real_x))
        return _Sample(np.concatenate(xs, axis=1), real_x @ matrix.swapaxes(1, 2))


def _is_free(node: Node, operands: Operands) -> bool:
    """Tell whether a node has weights that are to be rounded here."""
    if not isinstance(node.op, Refined) or operands.input(1).quant is not None:
        return False
    weights = operands.input(1)
    if isinstance(node.op, DepthwiseConv2D):
        return True
    return weights.size // weights.shape[0] <= _WIDEST


def _run(node: Node, operands: Operands, values: Mapping[str, Array]) -> tuple[Array, ...]:
    given: Sequence[Array | None] = [None if n is None else values[n] for n in node.inputs]
    with np.errstate(over="ignore", invalid="ignore"):
        return evaluate(node.op, operands, given)


def _patches(node: Node, operands: Operands, x: Array, chosen: Array) -> Array:
    """Return the inputs of some outputs, shape (groups, rows, inputs per output)."""
    weights, op = operands.input(1), node.op
    if isinstance(op, FullyConnected):
        return x.reshape(1, -1, weights.shape[1])[:, chosen]
    assert isinstance(op, Conv2D | DepthwiseConv2D)
    where = np.unravel_index(chosen, operands.output.shape[:3])
    stacked = np.stack([tap[where] for _, _, tap in op.sliding(operands).taps(x)], axis=1)
    if isinstance(op, DepthwiseConv2D):
        repeats = weights.shape[3] // x.shape[3]
        return np.repeat(stacked.transpose(2, 0, 1), repeats, axis=0)
    groups = x.shape[3] // weights.shape[3]
    split = stacked.reshape(*stacked.shape[:2], groups, -1)
    return split.transpose(2, 0, 1, 3).reshape(groups, len(chosen), -1)


def _matrix(node: Node, weights: Array, groups: int) -> Values:
    """Return weights as (groups, outputs per group, inputs per output)."""
    if isinstance(node.op, DepthwiseConv2D):
        return weights.reshape(-1, weights.shape[3]).T[:, None]
    return weights.reshape(groups, len(weights) // groups, -1)


def _shaped(node: Node, matrix: Array, shape: tuple[int, ...]) -> Array:
    """Return weights in the shape of their tensor."""
    if isinstance(node.op, DepthwiseConv2D):
        return np.asarray(matrix[:, 0].T.reshape(shape))
    return np.asarray(matrix.reshape(shape))
