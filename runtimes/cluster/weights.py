"""One rank's part of a model's weights, by canonical name, as float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from runtimes.cluster.arrays import F32
from runtimes.cluster.channels import MAGNITUDES, channel_magnitudes
from runtimes.cluster.formats.base import WeightSource
from runtimes.cluster.ownership import own_columns, own_rows
from toolchain.cluster.config import ModelConfig
from toolchain.cluster.split import Share


class RankWeights(Protocol):
    """What a rank reads: matrices already cut to its share, vectors, embedding rows."""

    config: ModelConfig
    share: Share

    def tensor(self, name: str) -> F32:
        """Return this rank's part of a tensor."""
        ...

    def embedding_rows(self, tokens: Sequence[int]) -> F32:
        """Return (n, hidden) embedding rows."""
        ...

    def close(self) -> None:
        """Close the files."""
        ...


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
        if kind in MAGNITUDES:
            return channel_magnitudes(self.config, self._source.rows, name, rows)
        whole = self._source.rows(name, rows.start, rows.stop)
        columns = own_columns(self.config, self.share, kind)
        return whole if columns is None else np.ascontiguousarray(whole[:, columns.slice()])

    def embedding_rows(self, tokens: Sequence[int]) -> F32:
        """Return (n, hidden) embedding rows."""
        rows = [self._source.rows("embedding", t, t + 1) for t in tokens]
        return np.concatenate(rows) if rows else np.empty((0, self.config.hidden), np.float32)

    def close(self) -> None:
        """Close the model file."""
        self._source.close()
