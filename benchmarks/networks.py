"""Published networks that are known by their layers only: the graphs, with random weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from nas.draft import Draft
from nas.layer_list import Block, LayerList, build_graph, draw_block
from toolchain.ir import DType, Graph, Quant, Tensor
from toolchain.numerics import Activation
from toolchain.ops import Add, Dequantize, MaxPool2D, Quantize, Reshape, ResizeNearest, Softmax

_RELU6 = Activation.RELU6


def mcunetv2_large() -> LayerList:
    """Return MCUNetV2-large, 224x224: gates of a quarter of the input channels from 28x28 on.

    Source: J. Lin et al., "MCUNetV2: Memory-Efficient Patch-based Inference for Tiny Deep
    Learning", NeurIPS 2021, and the model that TinyEngine publishes with it.
    """
    rows = (
        (96, 24, 3, 2, 0), (96, 40, 3, 2, 0),
        (240, 40, 5, 1, 10), (240, 40, 5, 1, 10), (120, 40, 3, 1, 10), (240, 64, 5, 2, 10),
        (256, 64, 5, 1, 16), (192, 64, 3, 1, 16), (256, 64, 7, 1, 16), (384, 96, 5, 1, 16),
        (384, 96, 5, 1, 24), (288, 96, 5, 1, 24), (384, 144, 7, 2, 24),
        (576, 144, 3, 1, 36), (576, 144, 3, 1, 36), (576, 240, 5, 1, 0),
    )  # fmt: skip
    blocks, channels = [Block(0, 16, 0, 1, residual=False)], 16
    for middle, out, kernel, stride, squeeze in rows:
        residual = out == channels and stride == 1
        blocks.append(Block(middle, out, kernel, stride, residual, squeeze))
        channels = out
    return LayerList("mcunetv2-large-se", (224, 224), 3, (3, 2, 16), tuple(blocks), 384, 1000)


def wake_word() -> Graph:
    """Return MLPerf Tiny's streaming wake word network: 1-D depthwise separable convolutions."""
    draft = Draft("streaming-wake-word")
    x = draft.input(1, 30, 1, 40)
    for kernel, channels in ((3, 128), (5, 128), (10, 128), (15, 32)):
        x = draft.depthwise(x, (kernel, 1), padded=False)
        x = draft.conv(x, channels, activation=Activation.RELU)
    x = draft.add(Reshape((1, 32)), x, quant=x.quant)
    shares = Quant.per_tensor(1 / 256, -128)
    return draft.graph(draft.add(Softmax(), draft.fully_connected(x, 3), quant=shares))


def detection() -> Graph:
    """Return TinyEngine's person detection network, 128x160: three maps of boxes, float ports."""
    draft = Draft("detection")
    x = draft.add(Quantize(), draft.input(1, 128, 160, 3, dtype=DType.FLOAT32))
    x = draft.conv(x, 16, 3, 2, _RELU6)
    fine = _bottlenecks(draft, x, (0, 16, 1), (32, 16, 2), (64, 16, 2), (48, 16, 1))
    middle = _bottlenecks(draft, fine, (48, 32, 2), (192, 32, 1, False))
    coarse = _bottlenecks(draft, middle, (128, 48, 2), (192, 48, 1), (192, 48, 1))
    middle = _bottlenecks(draft, _upwards(draft, coarse, middle), (96, 32, 1))
    fine = _bottlenecks(draft, _upwards(draft, middle, fine), (32, 16, 1))
    middle = _bottlenecks(draft, _downwards(draft, fine, middle), (64, 32, 1))
    coarse = _bottlenecks(draft, _downwards(draft, middle, coarse), (96, 48, 1))
    heads = ((fine, 64, 48), (middle, 64, 96), (coarse, 192, 144))
    return draft.graph(*(_head(draft, *head) for head in heads))


def _bottlenecks(draft: Draft, x: Tensor, *rows: tuple[int, ...]) -> Tensor:
    """Add inverted bottlenecks, given as middle, channels, stride and maybe no residual."""
    for middle, channels, stride, *residual in rows:
        same = stride == 1 and x.shape[3] == channels and middle > 0
        block = Block(middle, channels, 3, stride, residual=same and all(residual))
        x = draw_block(draft, x, block, _RELU6)
    return x


def _upwards(draft: Draft, x: Tensor, finer: Tensor) -> Tensor:
    x = draft.conv(x, finer.shape[3], activation=_RELU6)
    x = draft.add(ResizeNearest(finer.shape[1:3]), x, quant=x.quant)
    return draft.add(Add(), x, finer)


def _downwards(draft: Draft, x: Tensor, coarser: Tensor) -> Tensor:
    x = draft.add(MaxPool2D((2, 2), (2, 2)), x, quant=x.quant)
    x = draft.conv(x, coarser.shape[3], activation=_RELU6)
    return draft.add(Add(), x, coarser)


def _head(draft: Draft, x: Tensor, middle: int, mixed: int) -> Tensor:
    x = draft.conv(x, middle, activation=_RELU6)
    x = draft.depthwise(x, (3, 3), activation=_RELU6)
    x = draft.conv(x, mixed, activation=_RELU6)
    return draft.add(Dequantize(), draft.conv(x, 18))


NETWORKS: Mapping[str, Callable[[], Graph]] = {
    "streaming-wake-word": wake_word,
    "detection": detection,
    "mcunetv2-large-se": lambda: build_graph(mcunetv2_large()),
}
