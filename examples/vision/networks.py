"""MobileNet V1 to V3, ResNet, EfficientNet-lite and MCUNet, with the sizes of their papers.

Each function returns a module that maps images (N, C, H, W) to logits. Import one with::

    tessera quantize examples/vision/networks.py:mobilenet_v2_demo --data calib.npz
"""

from __future__ import annotations

import math

import torch
from torch import nn

from examples.vision.blocks import Head, InvertedResidual, conv, whole


def mobilenet_v1(width: float = 0.25, classes: int = 1000, channels: int = 3) -> nn.Module:
    """Return MobileNetV1. Reference: A. Howard et al., 2017, table 1."""
    table = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5]
    current = whole(32 * width)
    layers: list[nn.Module] = [conv(channels, current, stride=2, activation=nn.ReLU)]
    for out_c, stride in [*table, (1024, 2), (1024, 1)]:
        target = whole(out_c * width)
        layers.append(conv(current, current, 3, stride, groups=current, activation=nn.ReLU))
        layers.append(conv(current, target, 1, activation=nn.ReLU))
        current = target
    return nn.Sequential(*layers, Head(current, classes))


def mobilenet_v2(width: float = 1.0, classes: int = 1000, channels: int = 3) -> nn.Module:
    """Return MobileNetV2. Reference: M. Sandler et al., CVPR 2018, table 2."""
    # expansion, channels, repeats, first stride
    table = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1)]
    current = whole(32 * width)
    layers: list[nn.Module] = [conv(channels, current, stride=2)]
    for expansion, out_c, repeats, first in [*table, (6, 160, 3, 2), (6, 320, 1, 1)]:
        target = whole(out_c * width)
        for index in range(repeats):
            stride = first if index == 0 else 1
            layers.append(InvertedResidual(current, target, 3, stride, current * expansion))
            current = target
    last = whole(1280 * max(width, 1.0))
    return nn.Sequential(*layers, conv(current, last, 1), Head(last, classes))


def mobilenet_v3_small(width: float = 1.0, classes: int = 1000, channels: int = 3) -> nn.Module:
    """Return MobileNetV3-small. Reference: A. Howard et al., ICCV 2019, table 2."""
    # kernel, expansion, channels, squeeze, hard swish, stride
    table = [
        (3, 16, 16, True, False, 2),
        (3, 72, 24, False, False, 2),
        (3, 88, 24, False, False, 1),
        (5, 96, 40, True, True, 2),
        *[(5, 240, 40, True, True, 1)] * 2,
        (5, 120, 48, True, True, 1),
        (5, 144, 48, True, True, 1),
        (5, 288, 96, True, True, 2),
        *[(5, 576, 96, True, True, 1)] * 2,
    ]
    current = whole(16 * width)
    layers: list[nn.Module] = [conv(channels, current, stride=2, activation=nn.Hardswish)]
    for kernel, expansion, out_c, squeeze, swish, stride in table:
        inner, target = whole(expansion * width), whole(out_c * width)
        reduced = whole(inner / 4) if squeeze else 0
        activation = nn.Hardswish if swish else nn.ReLU
        layers.append(InvertedResidual(current, target, kernel, stride, inner, reduced, activation))
        current = target
    last, hidden = whole(576 * width), whole(1024 * width)
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(last, hidden), nn.Hardswish()]
    tail = conv(current, last, 1, activation=nn.Hardswish)
    return nn.Sequential(*layers, tail, *head, nn.Dropout(0.2), nn.Linear(hidden, classes))


class BasicBlock(nn.Module):
    """Two convolutions and a shortcut. Reference: K. He et al., CVPR 2016, figure 2."""

    def __init__(self, in_c: int, out_c: int, stride: int) -> None:
        super().__init__()
        first = conv(in_c, out_c, 3, stride, activation=nn.ReLU)
        self.block = nn.Sequential(first, conv(out_c, out_c, 3, activation=None))
        same = stride == 1 and in_c == out_c
        self.shortcut = nn.Identity() if same else conv(in_c, out_c, 1, stride, activation=None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, H, W) to (N, C', H / stride, W / stride)."""
        return torch.relu(self.block(x) + self.shortcut(x))


def resnet(
    blocks: tuple[int, ...] = (2, 2, 2, 2), width: int = 64, classes: int = 1000, channels: int = 3
) -> nn.Module:
    """Return a ResNet of basic blocks; ResNet-18 by default. Reference: K. He et al., CVPR 2016."""
    layers: list[nn.Module] = [conv(channels, width, 7, 2, activation=nn.ReLU)]
    layers.append(nn.MaxPool2d(3, 2, 1))
    current = width
    for stage, repeats in enumerate(blocks):
        for index in range(repeats):
            stride = 2 if stage and index == 0 else 1
            layers.append(BasicBlock(current, width << stage, stride))
            current = width << stage
    return nn.Sequential(*layers, Head(current, classes))


def efficientnet_lite(
    width: float = 1.0, depth: float = 1.0, classes: int = 1000, channels: int = 3
) -> nn.Module:
    """Return EfficientNet-lite: EfficientNet without gates, with ReLU6.

    Reference: M. Tan and Q. Le, "EfficientNet", ICML 2019, table 1.
    """
    # expansion, channels, repeats, stride, kernel
    table = [(1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3)]
    table += [(6, 112, 3, 1, 5), (6, 192, 4, 2, 5), (6, 320, 1, 1, 3)]
    current = 32
    layers: list[nn.Module] = [conv(channels, current, stride=2)]
    for number, (expansion, out_c, repeats, first, kernel) in enumerate(table):
        target = whole(out_c * width)
        scaled = repeats if number in (0, len(table) - 1) else math.ceil(repeats * depth)
        for index in range(scaled):
            stride = first if index == 0 else 1
            layers.append(InvertedResidual(current, target, kernel, stride, current * expansion))
            current = target
    return nn.Sequential(*layers, conv(current, 1280, 1), Head(1280, classes))


def mcunet(
    blocks: tuple[tuple[int, int, int, int, bool], ...] = (
        (3, 3, 16, 2, False),
        (5, 4, 24, 2, True),
        (7, 3, 24, 1, True),
        (5, 5, 40, 2, True),
        (3, 4, 48, 1, False),
    ),
    classes: int = 10,
    channels: int = 3,
) -> nn.Module:
    """Return a network of MCUNet's search space, with gates where a block asks for one.

    Reference: J. Lin et al., "MCUNet", NeurIPS 2020, section 3.1.

    Args:
        blocks: kernel (3, 5 or 7), expansion (3 to 6), channels, stride, squeeze and excite.
        classes: of the output.
        channels: of the images.
    """
    current = 16
    layers: list[nn.Module] = [conv(channels, current, stride=2)]
    layers.append(conv(current, current, 3, groups=current))
    layers.append(conv(current, 8, 1, activation=None))
    current = 8
    for kernel, expansion, out_c, stride, squeeze in blocks:
        inner = current * expansion
        reduced = whole(inner / 4) if squeeze else 0
        layers.append(InvertedResidual(current, out_c, kernel, stride, inner, reduced))
        current = out_c
    return nn.Sequential(*layers, Head(current, classes))


def mobilenet_v2_demo() -> tuple[nn.Module, torch.Tensor]:
    """Return a small MobileNetV2 with random weights, and an example input."""
    torch.manual_seed(0)
    return mobilenet_v2(0.35, classes=10), torch.zeros(1, 3, 96, 96)
