"""What the families share: normalised convolutions, inverted residuals, squeeze and excite."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

Activation = Callable[[], nn.Module]


def conv(
    in_c: int,
    out_c: int,
    kernel: int = 3,
    stride: int = 1,
    groups: int = 1,
    activation: Activation | None = nn.ReLU6,
) -> nn.Sequential:
    """Return convolution, batch normalisation and activation; maps keep their size at stride 1."""
    layers: list[nn.Module] = [
        nn.Conv2d(in_c, out_c, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out_c),
    ]
    return nn.Sequential(*layers, *([activation()] if activation else []))


def whole(channels: float, multiple: int = 8) -> int:
    """Return channels as a multiple of 8 that is not more than 10 % below."""
    rounded = max(multiple, int(channels + multiple / 2) // multiple * multiple)
    return rounded + multiple if rounded < 0.9 * channels else rounded


class SqueezeExcite(nn.Module):
    """Scale each channel by a gate computed from the means of all.

    Reference: J. Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018.
    """

    def __init__(self, channels: int, reduced: int, gate: Activation = nn.Hardsigmoid) -> None:
        super().__init__()
        self.scale = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, reduced, 1),
            nn.ReLU(),
            nn.Conv2d(reduced, channels, 1),
            gate(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, H, W) to the same shape."""
        return x * self.scale(x)


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, gate and projection, with a residual where shapes agree.

    Reference: M. Sandler et al., "MobileNetV2", CVPR 2018, section 3; with the gate of
    A. Howard et al., "Searching for MobileNetV3", ICCV 2019, section 5.3.
    """

    def __init__(
        self,
        in_c: int,
        out_c: int,
        kernel: int,
        stride: int,
        inner: int,
        squeeze: int = 0,
        activation: Activation = nn.ReLU6,
    ) -> None:
        super().__init__()
        layers = [conv(in_c, inner, 1, activation=activation)] if inner != in_c else []
        layers.append(conv(inner, inner, kernel, stride, groups=inner, activation=activation))
        gate = [SqueezeExcite(inner, squeeze)] if squeeze else []
        self.block = nn.Sequential(*layers, *gate, conv(inner, out_c, 1, activation=None))
        self.residual = stride == 1 and in_c == out_c

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, H, W) to (N, C', H / stride, W / stride)."""
        return x + self.block(x) if self.residual else self.block(x)


class Head(nn.Module):
    """Global mean and classifier."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, H, W) to logits (N, classes)."""
        return self.classifier(self.pool(x).flatten(1))
