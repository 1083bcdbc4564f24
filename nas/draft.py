"""Draw a quantised graph node by node, with random weights: networks whose shapes alone matter."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from toolchain.ir import DType, Graph, Node, Operands, Quant, Tensor, constant, verify
from toolchain.numerics import Activation
from toolchain.ops import Conv2D, DepthwiseConv2D, FullyConnected, Op
from toolchain.ops.spatial import Pads

_TYPICAL = 4400.0  # weight times input, both in steps of their scales: root of the mean square
_SPREAD = 50.0  # outputs deviate so much from their mean, in steps


class Draft:
    """A graph that grows.

    Scales are those of a trained network: outputs fill their range without saturating, and what a
    ReLU leaves takes the whole range of int8, as TensorFlow Lite's converter chooses it (B. Jacob
    et al., "Quantization and Training of Neural Networks", CVPR 2018, section 3).

    Args:
        name: of the graph.
        seed: equal seeds and equal calls give equal graphs.
    """

    def __init__(self, name: str, seed: int = 0) -> None:
        self.name = name
        self._rng = np.random.default_rng(seed)
        self._tensors: dict[str, Tensor] = {}
        self._nodes: list[Node] = []
        self._inputs: list[str] = []

    def input(self, *shape: int, dtype: DType = DType.INT8) -> Tensor:
        """Add a graph input."""
        quant = self._quant(Activation.NONE) if dtype is DType.INT8 else None
        name = f"input_{len(self._inputs)}" if self._inputs else "input"
        tensor = Tensor(name, shape, dtype, quant)
        self._tensors[tensor.name] = tensor
        self._inputs.append(tensor.name)
        return tensor

    def add(self, op: Op, *inputs: Tensor, quant: Quant | None = None) -> Tensor:
        """Add a node; return its output, of ``quant`` or with a scale of its own."""
        activation = getattr(op, "activation", Activation.NONE)
        name = f"{len(self._nodes):02d}_{op.name}"
        made = Tensor(name, (), DType.INT8, quant or self._quant(activation))
        (kind,) = op.infer(Operands(inputs, (made,)))
        made = replace(made, shape=kind.shape, dtype=kind.dtype)
        if made.dtype is DType.FLOAT32:
            made = replace(made, quant=None)
        self._tensors |= {tensor.name: tensor for tensor in (*inputs, made)}
        self._nodes.append(Node(name, op, tuple(tensor.name for tensor in inputs), (name,)))
        return made

    def conv(
        self,
        x: Tensor,
        channels: int,
        kernel: int = 1,
        stride: int = 1,
        activation: Activation = Activation.NONE,
    ) -> Tensor:
        """Add a square convolution that keeps the map's size, but for its stride."""
        op = Conv2D((stride, stride), (1, 1), _pads(kernel), activation)
        return self._weighted(op, x, (channels, kernel, kernel, x.shape[3]), 0)

    def depthwise(
        self,
        x: Tensor,
        kernel: tuple[int, int],
        stride: int = 1,
        activation: Activation = Activation.NONE,
        *,
        padded: bool = True,
    ) -> Tensor:
        """Add a depthwise convolution with one filter per channel."""
        pads = _pads(kernel[0]) if padded else Pads(0, 0, 0, 0)
        op = DepthwiseConv2D((stride, stride), (1, 1), pads, activation)
        return self._weighted(op, x, (1, *kernel, x.shape[3]), 3)

    def fully_connected(self, x: Tensor, units: int) -> Tensor:
        """Add a fully connected layer."""
        return self._weighted(FullyConnected(), x, (units, x.shape[-1]), 0)

    def scalar(self, value: float) -> Tensor:
        """Return a constant."""
        data = np.full((1, 1, 1, 1), 127, np.int8)
        return constant(f"constant_{len(self._nodes)}", data, Quant.per_tensor(value / 127))

    def graph(self, *outputs: Tensor) -> Graph:
        """Return the graph, verified."""
        names = tuple(tensor.name for tensor in outputs)
        return verify(
            Graph(self.name, tuple(self._nodes), self._tensors, tuple(self._inputs), names)
        )

    def _weighted(self, op: Op, x: Tensor, shape: tuple[int, ...], axis: int) -> Tensor:
        y = self._quant(getattr(op, "activation", Activation.NONE))
        count, channels = len(self._nodes), shape[axis]
        depth = math.prod(shape) // channels
        typical = _TYPICAL * depth**0.5
        spread = self._rng.uniform(0.7, 1.4, channels) * _SPREAD / typical
        scales = tuple(float(np.float32(s)) for s in spread * y.scales[0] / x.scale)
        values = self._rng.integers(-127, 128, shape, dtype=np.int8)
        reach = int(typical)
        bias = self._rng.integers(-reach, reach, channels, dtype=np.int32)
        weights = constant(f"weights_{count}", values, Quant(scales, (0,) * channels, axis))
        return self.add(op, x, weights, constant(f"bias_{count}", bias), quant=y)

    def _quant(self, activation: Activation) -> Quant:
        scale, zero_point = self._rng.uniform(0.02, 0.1), int(self._rng.integers(-20, 20))
        if activation is Activation.RELU6:
            return Quant.per_tensor(6 / 255, -128)
        return Quant.per_tensor(scale, zero_point if activation is Activation.NONE else -128)


def _pads(kernel: int) -> Pads:
    return Pads(*(kernel // 2,) * 4)
