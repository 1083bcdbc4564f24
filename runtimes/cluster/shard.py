"""Reads shard files: every byte is checked before it is used.

`runtimes.cluster.shard_layout` shows what a shard file looks like.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from runtimes.cluster.buffers import Buffer, Rows
from runtimes.cluster.ownership import own_rows
from runtimes.cluster.shard_layout import (
    HEADER_START,
    MAGIC,
    MAX_HEADER,
    ShardHeader,
    embedding_item,
    resident_order,
)
from toolchain.errors import ModelError, TesseraError


class ShardFile:
    """An open shard: a checked header and reads by block.

    Args:
        path: the file.

    Raises:
        ModelError: E224, not a shard, damaged, or cut short.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        try:
            self.header = self._read_header()
        except TesseraError as error:
            os.close(self._fd)
            raise _damaged(error.what, path, error.numbers) from error
        self.blocks = {block.name: block for block in self.header.blocks}

    def read(self, name: str) -> Buffer:
        """Read one block whole and check its hash.

        Raises:
            ModelError: E224, the block is damaged.
        """
        block = self.blocks[name]
        out = Buffer.zeros(block.bytes)
        read_into(self._fd, out.view, block.offset, self.path)
        self.check(name, out.view)
        return out

    def check(self, name: str, content: memoryview) -> None:
        """Compare a block's bytes with the header's hash.

        Raises:
            ModelError: E224, they differ.
        """
        if hashlib.sha256(content).hexdigest() != self.blocks[name].sha256:
            raise _damaged(f"block {name} of the shard is damaged (SHA-256 differs)", self.path)

    def verify(self) -> None:
        """Check every block, a few MiB at a time."""
        for block in self.header.blocks:
            digest = hashlib.sha256()
            chunk = bytearray(min(block.bytes, 1 << 22))
            for done in range(0, block.bytes, len(chunk) or 1):
                part = memoryview(chunk)[: min(len(chunk), block.bytes - done)]
                read_into(self._fd, part, block.offset + done, self.path)
                digest.update(part)
            if digest.hexdigest() != block.sha256:
                self.check(block.name, memoryview(b""))

    def embedding(self, tokens: Sequence[int]) -> Buffer:
        """Read embedding rows from disk as they are stored, one after another (rank 0 only)."""
        size = self.header.config.hidden * embedding_item(self.header.bits)
        start, rows = self.blocks["embedding"].offset, Buffer.over(bytearray(len(tokens) * size))
        for row, token in enumerate(tokens):
            target = rows.view[row * size : (row + 1) * size]
            read_into(self._fd, target, start + token * size, self.path)
        return rows

    def resident(self) -> dict[str, Rows]:
        """Read all norms and biases: canonical name to a float32 vector (one row)."""
        header, memory = self.header, self.read("resident")
        out, offset = {}, 0
        for name in resident_order(header.config):
            size = len(own_rows(header.config, header.share, name.rpartition(".")[2]))
            out[name] = Rows(memory.part(4 * offset, 4 * (offset + size)), 1, size)
            offset += size
        return out

    def close(self) -> None:
        """Close the file; may be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _read_header(self) -> ShardHeader:
        start = os.pread(self._fd, HEADER_START, 0)
        if len(start) < HEADER_START or start[:8] != MAGIC:
            raise ModelError("E224", "not a shard file")
        length = int.from_bytes(start[8:16], "little")
        if length > MAX_HEADER:
            raise ModelError("E224", f"the shard's header claims {length} bytes")
        text = os.pread(self._fd, length, HEADER_START)
        if hashlib.sha256(text).digest() != start[16:]:
            raise ModelError("E224", "the shard's header is damaged (SHA-256 differs)")
        header = ShardHeader.from_json(text)
        end = header.blocks[-1].offset + header.blocks[-1].bytes
        size = os.fstat(self._fd).st_size
        if size != end:
            raise ModelError(
                "E224", f"the shard should have {end} bytes and has {size}", numbers={"bytes": end}
            )
        return header


def read_into(fd: int, target: memoryview, offset: int, path: Path) -> None:
    """Fill a buffer from a file.

    Raises:
        ModelError: E224, the file ends or cannot be read.
    """
    done = 0
    while done < len(target):
        try:
            count = os.preadv(fd, [target[done:]], offset + done)
        except OSError as error:
            raise _damaged(f"the shard cannot be read: {error}", path) from error
        if count == 0:
            raise _damaged("the shard ends too early", path)
        done += count


def _damaged(what: str, path: Path, numbers: Mapping[str, float] | None = None) -> ModelError:
    """Return E224 with what helps: a worker fetches the shard again, the head converts again."""
    return ModelError(
        "E224",
        what,
        where=str(path),
        numbers=numbers,
        hints=[
            f"rm {path}   (on a worker: the head sends it again)",
            f"tessera cluster convert MODEL -o {path.parent}   (on the head)",
        ],
    )
