"""A vision transformer small enough for microcontrollers.

Import it with::

    tessera quantize examples/vision/transformer.py:demo --data calib.npz

Reference: A. Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021; the norm stands before
each part of a block, as in section 3.1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Attention(nn.Module):
    """Attention of all tokens to all, over several heads."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.joined = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens (N, T, C) of the same shape."""
        batch, tokens, width = x.shape
        parts = self.queries_keys_values(x).chunk(3, dim=-1)
        shape = (batch, tokens, self.heads, width // self.heads)
        query, key, value = (part.reshape(shape).transpose(1, 2) for part in parts)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        joined: Tensor = self.joined(mixed.transpose(1, 2).reshape(batch, tokens, width))
        return joined


class Block(nn.Module):
    """Attention, then two layers per token, each added to its input."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.mix = nn.Sequential(nn.LayerNorm(width), Attention(width, heads))
        self.think = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens (N, T, C) of the same shape."""
        x = x + self.mix(x)
        thought: Tensor = x + self.think(x)
        return thought


class VisionTransformer(nn.Module):
    """Logits of images (N, C, S, S), cut into patches that are tokens beside one for the class."""

    def __init__(
        self, size: int = 32, patch: int = 8, width: int = 48, heads: int = 2, depth: int = 2,
        classes: int = 10, channels: int = 3,
    ) -> None:  # fmt: skip
        super().__init__()
        self.patches = nn.Conv2d(channels, width, patch, patch)
        self.first = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.places = nn.Parameter(0.02 * torch.randn(1, (size // patch) ** 2 + 1, width))
        self.blocks = nn.Sequential(*(Block(width, heads, 2 * width) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, classes)."""
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        first = self.first.expand(tokens.shape[0], -1, -1)
        x = self.blocks(torch.cat([first, tokens], 1) + self.places)
        logits: Tensor = self.head(self.norm(x)[:, 0])
        return logits


def demo() -> tuple[nn.Module, Tensor]:
    """Return a transformer with random weights, and an example input."""
    torch.manual_seed(0)
    return VisionTransformer(), torch.zeros(1, 3, 32, 32)
