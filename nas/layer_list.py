"""Layer lists: mobile networks as rows of numbers, and the graphs they stand for.

A network of inverted bottlenecks (M. Sandler et al., "MobileNetV2", CVPR 2018, section 3) is a stem
convolution, blocks, an optional last 1x1 convolution, a global pool and a classifier. Seven numbers
describe a block, so a search changes numbers and asks the planner what the graph costs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.draft import Draft
from toolchain.errors import UsageError
from toolchain.ir import Graph, Tensor
from toolchain.numerics import Activation
from toolchain.ops import Add, AveragePool2D, Mean, Mul, Reshape

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
    draft = Draft(layers.name, seed)
    kernel, stride, channels = layers.stem
    source = draft.input(1, *layers.size, layers.in_channels)
    x = draft.conv(source, channels, kernel, stride, layers.activation)
    for block in layers.blocks:
        x = draw_block(draft, x, block, layers.activation)
    if layers.mix:
        x = draft.conv(x, layers.mix, activation=layers.activation)
    x = draft.add(AveragePool2D((x.shape[1], x.shape[2])), x, quant=x.quant)
    x = draft.add(Reshape((1, x.shape[3])), x, quant=x.quant)
    return draft.graph(draft.fully_connected(x, layers.classes))


def draw_block(draft: Draft, x: Tensor, block: Block, activation: Activation) -> Tensor:
    """Add ``block`` behind ``x``; return its output."""
    shortcut = x
    if block.middle:
        x = draft.conv(x, block.middle, activation=activation)
    if block.kernel:
        x = draft.depthwise(x, (block.kernel,) * 2, block.stride, activation)
    if block.squeeze:
        x = _squeeze(draft, x, block.squeeze)
    x = draft.conv(x, block.channels)
    return draft.add(Add(), shortcut, x) if block.residual else x


def _squeeze(draft: Draft, x: Tensor, hidden: int) -> Tensor:
    """Scale channels by ``relu6(f(mean) + 3) / 6``, ``f`` two small layers."""
    gate = draft.add(Mean((1, 2), keep_dims=True), x)
    gate = draft.conv(gate, hidden, activation=Activation.RELU)
    gate = draft.conv(gate, x.shape[3])
    gate = draft.add(Add(Activation.RELU6), gate, draft.scalar(3.0))
    gate = draft.add(Mul(), gate, draft.scalar(1 / 6))
    return draft.add(Mul(), x, gate)
