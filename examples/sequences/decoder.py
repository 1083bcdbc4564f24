"""A decoder over a window of frames: causal attention, with fewer heads of keys than of queries.

Import it with::

    tessera quantize examples/sequences/decoder.py:demo --data calib.npz

Reference: J. Ainslie et al., "GQA: Training Generalized Multi-Query Transformer Models from
Multi-Head Checkpoints", EMNLP 2023.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class CausalAttention(nn.Module):
    """Attention of every frame to itself and those before it."""

    def __init__(self, width: int, heads: int, shared: int) -> None:
        super().__init__()
        self.heads, self.shared, self.size = heads, shared, width // heads
        self.queries = nn.Linear(width, width)
        self.keys_values = nn.Linear(width, 2 * shared * self.size)
        self.joined = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return frames (N, T, C) of the same shape."""
        batch, frames, width = x.shape
        query = self.queries(x).reshape(batch, frames, self.heads, self.size).transpose(1, 2)
        key, value = (
            part.reshape(batch, frames, self.shared, self.size).transpose(1, 2)
            for part in self.keys_values(x).chunk(2, dim=-1)
        )
        mixed = functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, enable_gqa=True
        )
        joined: Tensor = self.joined(mixed.transpose(1, 2).reshape(batch, frames, width))
        return joined


class Decoder(nn.Module):
    """Logits (N, T, classes) of frames (N, T, C), each of what was heard up to then."""

    def __init__(
        self, width: int = 32, heads: int = 4, shared: int = 2, depth: int = 2, classes: int = 20
    ) -> None:
        super().__init__()
        self.mixers = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), CausalAttention(width, heads, shared))
            for _ in range(depth)
        )
        self.thinkers = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(),
                nn.Linear(2 * width, width),
            )
            for _ in range(depth)
        )  # fmt: skip
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, classes))

    def forward(self, frames: Tensor) -> Tensor:
        """Return logits (N, T, classes)."""
        x = frames
        for mix, think in zip(self.mixers, self.thinkers, strict=True):
            x = x + mix(x)
            x = x + think(x)
        logits: Tensor = self.head(x)
        return logits


def demo() -> tuple[nn.Module, Tensor]:
    """Return a decoder of 12 frames with random weights, and an example input."""
    torch.manual_seed(0)
    return Decoder(), torch.zeros(1, 12, 32)
