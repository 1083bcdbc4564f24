"""Which rows and columns of a tensor belong to a rank."""

from __future__ import annotations

from runtimes.cluster.formats.base import layer_shapes
from toolchain.cluster.config import ModelConfig
from toolchain.cluster.split import Share, Span


def own_rows(config: ModelConfig, share: Share, name: str) -> Span:
    """Rows (or elements) of a tensor that a rank holds, by the name within its layer."""
    dim = config.head_dim
    if name in ("q", "q_bias"):
        return Span(share.heads.start * dim, share.heads.stop * dim)
    if name in ("k", "v", "k_bias", "v_bias", "k_magnitude", "v_magnitude"):
        return Span(share.kv_heads.start * dim, share.kv_heads.stop * dim)
    if name in ("gate", "up"):
        return share.ffn
    if name == "classifier":
        return share.vocab
    shapes = layer_shapes(config)
    return Span(0, shapes[name][0] if name in shapes else config.hidden)


def own_columns(config: ModelConfig, share: Share, name: str) -> Span | None:
    """Columns that a rank holds of the matrices whose products are summed over ranks."""
    if name == "o":
        return own_rows(config, share, "q")
    return share.ffn if name == "down" else None
