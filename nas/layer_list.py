"""Layer lists: mobile networks as rows of numbers, and the graphs they stand for.

A network of inverted bottlenecks (M. Sandler et al., "MobileNetV2", CVPR 2018, section 3) is a stem
convolution, blocks, an optional last 1x1 convolution, a global pool and a classifier. Seven numbers
describe a block, so a search changes numbers and asks the planner what the graph costs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.errors import UsageError
from toolchain.ir import DType, Graph, Node, Operands, Quant, Tensor, constant, verify
from toolchain.numerics import Activation
from toolchain.ops import (
    Add,
    AveragePool2D,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Mean,
    Mul,
    Op,
    Reshape,
)
from toolchain.ops.spatial import Pads

_ACTIVATIONS = {"relu": Activation.RELU, "relu6": Activation.RELU6}
_LARGEST = 4096  # greatest number in a list: channels, sides


@dataclass(frozen=True)
class Block:
    """An inverted bottleneck: 1x1 to ``middle`` channels, depthwise, 1x1 to ``channels``.

    Attributes:
        middle: channels of the depthwise convolution; 0 for those of the input, with no 1x1 before.
        channels: of the output.
        kernel: side of the depthwise kernel, 0 for no depthwise convolution.
        stride: of the depthwise convolution.
        residual: whether the input is added to the output.
        squeeze: hidden channels of a squeeze-and-excite gate on the depthwise output, 0 for none
            (J. Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018).
    """

    middle: int
    channels: int
    kernel: int
    stride: int
    residual: bool
    squeeze: int = 0


@dataclass(frozen=True)
class LayerList:
    """A whole network.

    Attributes:
        name: of the network.
        size: height and width of the input.
        in_channels: of the input.
        stem: kernel, stride and channels of the first convolution.
        blocks: in order.
        mix: channels of the last 1x1 convolution, 0 for none.
        classes: outputs.
        activation: behind stem, expansion, depthwise and mix.
    """

    name: str
    size: tuple[int, int]
    in_channels: int
    stem: tuple[int, int, int]
    blocks: tuple[Block, ...]
    mix: int
    classes: int
    activation: Activation = Activation.RELU6


def read_layer_lists(path: Path) -> dict[str, LayerList]:
    """Read networks from JSON: ``{name: {res, in_ch, stem, blocks, mix, classes, act}}``.

    A row of ``blocks`` is ``[input channels, middle, channels, kernel, stride, residual]``, and
    maybe ``squeeze``. Names that start with ``_`` and networks with another activation than relu
    and relu6 are left out.

    Raises:
        UsageError: E121 if the file cannot be read, E122 with the network that is wrong.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError("E121", f"cannot read layer lists: {error}", where=str(path)) from None
    found = {}
    for name, value in values.items() if isinstance(values, dict) else ():
        if (
            isinstance(value, dict)
            and not name.startswith("_")
            and value.get("act") in _ACTIVATIONS
        ):
            try:
                found[name] = _layer_list(name, value)
            except (KeyError, TypeError, ValueError) as error:
                raise UsageError("E122", f"not a layer list: {error}", where=name) from None
    return found


def _layer_list(name: str, value: Mapping[str, Any]) -> LayerList:
    height, width = map(_count, value["res"])
    kernel, stride, stem = map(_count, value["stem"])
    channels, blocks = stem, []
    for row in value["blocks"]:
        inputs, middle, outputs, side, step, residual, *rest = map(_count, row)
        if inputs != channels:
            raise ValueError(f"a block takes {inputs} channels, but gets {channels}")
        blocks.append(Block(middle, outputs, side, step, bool(residual), *rest))
        channels = outputs
    return LayerList(
        name,
        (height, width),
        _count(value["in_ch"]),
        (kernel, stride, stem),
        tuple(blocks),
        _count(value["mix"]),
        _count(value["classes"]),
        _ACTIVATIONS[value["act"]],
    )


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _LARGEST:
        raise ValueError(f"{value!r} is no number from 0 to {_LARGEST}")
    return value


def build_graph(layers: LayerList, seed: int = 0) -> Graph:
    """Return the int8 graph of ``layers`` with random weights, the same for equal seeds."""
    return _Builder(layers, np.random.default_rng(seed)).build()


class _Builder:
    def __init__(self, layers: LayerList, rng: np.random.Generator) -> None:
        self.layers, self.rng = layers, rng
        self.tensors: dict[str, Tensor] = {}
        self.nodes: list[Node] = []

    def build(self) -> Graph:
        layers = self.layers
        source = Tensor("input", (1, *layers.size, layers.in_channels), DType.INT8, self._quant())
        self.tensors[source.name] = source
        kernel, stride, channels = layers.stem
        x = self._conv(source, kernel, stride, channels, layers.activation)
        for block in layers.blocks:
            x = self._block(x, block)
        if layers.mix:
            x = self._conv(x, 1, 1, layers.mix, layers.activation)
        x = self._add(AveragePool2D((x.shape[1], x.shape[2])), x, quant=x.quant)
        x = self._add(Reshape((1, x.shape[3])), x, quant=x.quant)
        weights = self._weights((layers.classes, x.shape[1]), 0)
        x = self._add(FullyConnected(), x, *weights)
        return verify(Graph(layers.name, tuple(self.nodes), self.tensors, ("input",), (x.name,)))

    def _block(self, x: Tensor, block: Block) -> Tensor:
        shortcut, activation = x, self.layers.activation
        if block.middle:
            x = self._conv(x, 1, 1, block.middle, activation)
        if block.kernel:
            op = DepthwiseConv2D((block.stride,) * 2, (1, 1), _pads(block.kernel), activation)
            x = self._add(op, x, *self._weights((1, block.kernel, block.kernel, x.shape[3]), 3))
        if block.squeeze:
            x = self._squeeze(x, block.squeeze)
        x = self._conv(x, 1, 1, block.channels, Activation.NONE)
        return self._add(Add(), shortcut, x) if block.residual else x

    def _squeeze(self, x: Tensor, hidden: int) -> Tensor:
        """Scale channels by ``relu6(f(mean) + 3) / 6``, ``f`` two small layers."""
        gate = self._add(Mean((1, 2), keep_dims=True), x)
        gate = self._conv(gate, 1, 1, hidden, Activation.RELU)
        gate = self._conv(gate, 1, 1, x.shape[3], Activation.NONE)
        gate = self._add(Add(Activation.RELU6), gate, self._scalar(3.0))
        gate = self._add(Mul(), gate, self._scalar(1 / 6))
        return self._add(Mul(), x, gate)

    def _conv(
        self, x: Tensor, kernel: int, stride: int, channels: int, activation: Activation
    ) -> Tensor:
        op = Conv2D((stride, stride), (1, 1), _pads(kernel), activation)
        return self._add(op, x, *self._weights((channels, kernel, kernel, x.shape[3]), 0))

    def _add(self, op: Op, *inputs: Tensor, quant: Quant | None = None) -> Tensor:
        name = f"{len(self.nodes):02d}_{op.name}"
        made = Tensor(name, (), DType.INT8, quant or self._quant())
        (kind,) = op.infer(Operands(inputs, (made,)))
        made = replace(made, shape=kind.shape, dtype=kind.dtype)
        self.tensors |= {tensor.name: tensor for tensor in (*inputs, made)}
        self.nodes.append(Node(name, op, tuple(tensor.name for tensor in inputs), (name,)))
        return made

    def _weights(self, shape: tuple[int, ...], axis: int) -> tuple[Tensor, Tensor]:
        count, channels = len(self.nodes), shape[axis]
        scales = tuple(float(np.float32(s)) for s in self.rng.uniform(0.002, 0.02, channels))
        values = self.rng.integers(-127, 128, shape, dtype=np.int8)
        bias = self.rng.integers(-500, 500, channels, dtype=np.int32)
        quant = Quant(scales, (0,) * channels, axis)
        return constant(f"weights_{count}", values, quant), constant(f"bias_{count}", bias)

    def _scalar(self, value: float) -> Tensor:
        data = np.full((1, 1, 1, 1), 127, np.int8)
        return constant(f"constant_{len(self.nodes)}", data, Quant.per_tensor(value / 127))

    def _quant(self) -> Quant:
        scale, zero_point = self.rng.uniform(0.02, 0.1), int(self.rng.integers(-20, 20))
        return Quant.per_tensor(scale, zero_point)


def _pads(kernel: int) -> Pads:
    return Pads(*(kernel // 2,) * 4)
