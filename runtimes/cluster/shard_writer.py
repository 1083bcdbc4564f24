"""Writes shard files: a few hundred rows in memory at a time, visible only when complete."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from runtimes.cluster.arrays import F32, Bytes
from runtimes.cluster.channels import MAGNITUDES, channel_magnitudes
from runtimes.cluster.formats.base import WeightSource
from runtimes.cluster.ownership import own_columns, own_rows
from runtimes.cluster.packing import Packer, best_packer
from runtimes.cluster.shard_layout import (
    MATRICES,
    ShardHeader,
    embedding_item,
    layout,
    resident_order,
)
from runtimes.cluster.sparse_shard import FreshFile, blank_header, finish
from toolchain.cluster.split import TILE_ROWS, Bits, Share
from toolchain.errors import ModelError

_CHUNK_VALUES = 1 << 22  # weights quantised at a time

Progress = Callable[[str, int], None]


def write_shard(
    source: WeightSource,
    share: Share,
    bits: Bits,
    path: Path,
    *,
    digest: str,
    progress: Progress = lambda _name, _bytes: None,
) -> ShardHeader:
    """Cut, quantise and write one rank's shard.

    Args:
        source: the model.
        share: the rank.
        bits: 4, 8 or 32.
        path: the file to write; it appears whole or not at all.
        digest: SHA-256 that names the model.
        progress: called with each finished block's name and bytes.

    Returns:
        The header of the new file.

    Raises:
        ModelError: E223 a tensor is missing, E225 a weight is not finite.
    """
    blank = blank_header(source.config, share, bits, digest)
    with FreshFile(path) as file:
        digests = []
        packer = best_packer()
        for block in blank.blocks:
            file.seek(block.offset)
            digests.append(
                _write_block(file, _content(source, share, bits, block.name, packer), block.bytes)
            )
            progress(block.name, block.bytes)
        return finish(file, layout(source.config, share, bits, digest, digests))


def _write_block(file: BinaryIO, content: Iterator[Bytes], size: int) -> str:
    """Write a block's parts and its padding; returns the SHA-256 of all of it."""
    digest, done = hashlib.sha256(), 0
    for part in content:
        data = np.ascontiguousarray(part).data.cast("B")
        digest.update(data)
        file.write(data)
        done += len(data)
    padding = bytes(size - done)
    digest.update(padding)
    file.write(padding)
    return digest.hexdigest()


def _content(
    source: WeightSource, share: Share, bits: Bits, name: str, packer: Packer
) -> Iterator[Bytes]:
    """Make the bytes of a block in pieces, without its padding."""
    if name == "resident":
        for tensor in resident_order(source.config):
            yield _resident(source, share, tensor).view(np.uint8)
    elif name == "embedding":
        yield from _embedding(source, bits)
    else:
        prefix, _, part = name.rpartition(".")
        for kind in MATRICES[part]:
            tensor = f"{prefix}.{kind}" if prefix else kind
            yield from (packer(part, bits) for part in _parts(source, share, tensor))


def _resident(source: WeightSource, share: Share, name: str) -> F32:
    """Read or compute a vector that stays in memory."""

    def read(tensor: str, start: int, stop: int) -> F32:
        return _finite(source.rows(tensor, start, stop), tensor)

    rows = own_rows(source.config, share, name.rpartition(".")[2])
    if name.endswith(MAGNITUDES):
        return channel_magnitudes(source.config, read, name, rows)
    return read(name, rows.start, rows.stop)


def _parts(source: WeightSource, share: Share, name: str) -> Iterator[F32]:
    """Read a rank's part of a matrix, some tile rows at a time."""
    kind = name.rpartition(".")[2]
    rows, columns = own_rows(source.config, share, kind), own_columns(source.config, share, kind)
    step = _row_step(max(source.config.hidden, len(columns or ())))
    for start in range(rows.start, rows.stop, step):
        part = _finite(source.rows(name, start, min(start + step, rows.stop)), name)
        yield part if columns is None else part[:, columns.slice()]


def _embedding(source: WeightSource, bits: Bits) -> Iterator[Bytes]:
    step = _row_step(source.config.hidden)
    for start in range(0, source.config.vocab, step):
        rows = source.rows("embedding", start, min(start + step, source.config.vocab))
        yield _finite(rows, "embedding").astype(f"<f{embedding_item(bits)}").view(np.uint8)


def _row_step(columns: int) -> int:
    """Rows per piece: whole tile rows."""
    return max(1, _CHUNK_VALUES // columns // TILE_ROWS) * TILE_ROWS


def _finite(values: F32, name: str) -> F32:
    if not np.isfinite(values).all():
        raise ModelError("E225", f"tensor {name} holds values that are not finite")
    return values
