"""A shard as plain float32 tensors, for the engine in numpy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from runtimes.cluster.arrays import F32, array_of, bytes_of
from runtimes.cluster.buffers import Buffer
from runtimes.cluster.shard import ShardFile
from runtimes.cluster.shard_layout import (
    MATRICES,
    ShardHeader,
    embedding_item,
    matrix_offsets,
    matrix_shape,
)
from runtimes.cluster.tiles import unpack
from toolchain.cluster.split import KvKind, kv_bytes

_COPIES = 3.25  # of the largest matrix as float32, while it is unpacked


class ShardWeights:
    """A rank's `runtimes.cluster.weights.RankWeights`: one block in memory at a time."""

    def __init__(self, shard: ShardFile) -> None:
        self.config = shard.header.config
        self.share = shard.header.share
        self._shard = shard
        self._resident: dict[str, F32] = {
            name: array_of(rows)[0] for name, rows in shard.resident().items()
        }
        self._block: tuple[str, Buffer] = ("", Buffer.zeros(0))

    def tensor(self, name: str) -> F32:
        """Return this rank's part of a tensor."""
        if name in self._resident:
            return self._resident[name]
        kind = name.rpartition(".")[2]
        part = next(part for part, kinds in MATRICES.items() if kind in kinds)
        block = name.removesuffix(kind) + part
        if self._block[0] != block:
            self._block = (block, self._shard.read(block))
        start = matrix_offsets(self.config, self.share, self._shard.header.bits, part)[kind]
        rows, columns = matrix_shape(self.config, self.share, kind)
        return unpack(bytes_of(self._block[1])[start:], rows, columns, self._shard.header.bits)

    def embedding_rows(self, tokens: Sequence[int]) -> F32:
        """Return (n, hidden) embedding rows."""
        stored = self._shard.embedding(tokens).view
        numbers = np.frombuffer(stored, f"<f{embedding_item(self._shard.header.bits)}")
        return numbers.reshape(len(tokens), -1).astype(np.float32)

    def close(self) -> None:
        """Close the shard."""
        self._shard.close()


def bytes_in_use(header: ShardHeader, kv: KvKind, capacity: int, slots: int) -> int:
    """Bytes that `runtimes.cluster.reference.ReferenceEngine` takes on a shard.

    Args:
        header: of the shard.
        kv: type of the key/value cache.
        capacity: positions per slot; 0 for the model's context.
        slots: sequences.
    """
    config, share, positions = header.config, header.share, capacity or header.config.context
    shapes = [matrix_shape(config, share, kind) for kinds in MATRICES.values() for kind in kinds]
    largest = 4 * max(rows * columns for rows, columns in shapes)
    block = max(block.bytes for block in header.blocks if block.name != "embedding")
    caches = slots * kv_bytes(config, share, positions, kv)
    decoded = 4 * 4 * positions * config.head_dim  # one head's keys and values, and their products
    return caches + decoded + block + int(_COPIES * largest)
