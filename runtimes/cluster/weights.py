"""One rank's part of a model's weights, by canonical name, as float32."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from runtimes.cluster.engine import F32, IntArray
from runtimes.cluster.formats.base import WeightSource, layer_shapes
from toolchain.cluster.config import ModelConfig
from toolchain.cluster.split import Share, Span


class RankWeights(Protocol):
    """What a rank reads: matrices already cut to its share, vectors, embedding rows."""

    config: ModelConfig
    share: Share

    def tensor(self, name: str) -> F32:
        """Return this rank's part of a tensor."""
        ...

    def embedding_rows(self, tokens: IntArray) -> F32:
        """Return (n, hidden) embedding rows."""
        ...

    def close(self) -> None:
        """Close the files."""
        ...


def own_rows(config: ModelConfig, share: Share, name: str) -> Span:
    """Rows (or elements) of a tensor that a rank holds, by the name within its layer."""
    dim = config.head_dim
    if name in ("q", "q_bias"):
        return Span(share.heads.start * dim, share.heads.stop * dim)
    if name in ("k", "v", "k_bias", "v_bias"):
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


class SlicedWeights:
    """A rank's part cut straight out of a model file: no shard, no quantisation."""

    def __init__(self, source: WeightSource, share: Share) -> None:
        self.config = source.config
        self.share = share
        self._source = source

    def tensor(self, name: str) -> F32:
        """Return this rank's part of a tensor."""
        kind = name.rpartition(".")[2]
        rows = own_rows(self.config, self.share, kind)
        whole = self._source.rows(name, rows.start, rows.stop)
        columns = own_columns(self.config, self.share, kind)
        return whole if columns is None else np.ascontiguousarray(whole[:, columns.slice()])

    def embedding_rows(self, tokens: IntArray) -> F32:
        """Return (n, hidden) embedding rows."""
        rows = [self._source.rows("embedding", int(t), int(t) + 1) for t in tokens]
        return np.concatenate(rows) if rows else np.empty((0, self.config.hidden), np.float32)

    def close(self) -> None:
        """Close the model file."""
        self._source.close()
