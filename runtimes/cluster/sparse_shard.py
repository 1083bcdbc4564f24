"""Shard files without numpy: how one comes into being, and shards that hold only zeros."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import BinaryIO

from runtimes.cluster.shard_layout import ShardHeader, layout
from toolchain.cluster.config import ModelConfig
from toolchain.cluster.split import PAGE, Bits, Share


def write_sparse_shard(
    config: ModelConfig, share: Share, bits: Bits, path: Path, *, digest: str
) -> ShardHeader:
    """Write a shard of zero weights as a file of holes: any size, no disk, true read times."""
    blank = blank_header(config, share, bits, digest)
    zeros = {size: _digest_of_zeros(size) for size in {block.bytes for block in blank.blocks}}
    with FreshFile(path) as file:
        file.truncate(blank.blocks[-1].offset + blank.blocks[-1].bytes)
        digests = [zeros[block.bytes] for block in blank.blocks]
        return finish(file, layout(config, share, bits, digest, digests))


def blank_header(config: ModelConfig, share: Share, bits: Bits, digest: str) -> ShardHeader:
    """Make a header whose blocks have no digests yet."""
    count = 2 + 2 * config.layers + (share.rank == 0)
    return layout(config, share, bits, digest, [""] * count)


class FreshFile:
    """A file beside its place that moves there when the block ends without an error."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> BinaryIO:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fd, self._name = tempfile.mkstemp(dir=self._path.parent, prefix=".shard-")
        self._file = os.fdopen(fd, "w+b", buffering=0)
        return self._file

    def __exit__(self, kind: object, _error: object, _trace: object) -> None:
        self._file.close()
        if kind is None:
            Path(self._name).replace(self._path)
        else:
            Path(self._name).unlink(missing_ok=True)


def finish(file: BinaryIO, header: ShardHeader) -> ShardHeader:
    """Write the header of a file whose blocks are there."""
    file.seek(0)
    file.write(header.to_bytes())
    os.fsync(file.fileno())
    return header


def _digest_of_zeros(size: int) -> str:
    digest, page = hashlib.sha256(), bytes(256 * PAGE)
    for done in range(0, size, len(page)):
        digest.update(memoryview(page)[: min(len(page), size - done)])
    return digest.hexdigest()
