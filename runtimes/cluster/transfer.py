"""Shard files over the wire: a worker pulls what its cache lacks, resumable, checked by SHA-256.

The cache is content-addressed: a shard lies under its digest, so a worker that has seen it before
asks for nothing, whoever the head is. An interrupted download keeps its ``.part`` file.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runtimes.cluster.messages import ShardInfo
from runtimes.cluster.wire import CHUNK_BYTES
from toolchain.errors import DeviceError

WINDOW = 8  # chunks in flight per worker


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remembered_digest(path: Path) -> str:
    """SHA-256 of a file, computed once as long as its size and time stay the same.

    Shards have gigabytes; what happens to their blocks later is found when they are loaded.
    """
    path = path.resolve()
    note = path.with_name(f".{path.name}.sha256")
    status = path.stat()
    stamp = f"{status.st_size} {status.st_mtime_ns}"
    with contextlib.suppress(OSError, ValueError):
        digest, _, known = note.read_text(encoding="ascii").partition(" ")
        if known == stamp and len(digest) == 64:
            return digest
    digest = file_digest(path)
    with contextlib.suppress(OSError):  # a folder that cannot be written costs time only
        fresh = note.with_name(note.name + ".new")
        fresh.write_text(f"{digest} {stamp}", encoding="ascii")
        fresh.replace(note)
    return digest


@dataclass(frozen=True)
class StoredShard:
    """A shard on the head's disk."""

    info: ShardInfo
    path: Path

    @classmethod
    def of(cls, rank: int, path: Path) -> StoredShard:
        """Measure and hash a file."""
        return cls(ShardInfo(rank, remembered_digest(path), path.stat().st_size), path)

    def chunk(self, index: int) -> bytes:
        """Read one piece; empty behind the end."""
        with self.path.open("rb") as file:
            file.seek(index * CHUNK_BYTES)
            return file.read(CHUNK_BYTES)


class ShardCache:
    """A worker's folder of shards by digest.

    Args:
        folder: made if it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._verified: set[str] = set()
        folder.mkdir(parents=True, exist_ok=True)

    def digests(self) -> tuple[str, ...]:
        """Return what is here, newest first."""
        files = sorted(self._folder.glob("*.shard"), key=lambda f: f.stat().st_mtime, reverse=True)
        return tuple(file.stem for file in files)

    def path(self, info: ShardInfo) -> Path:
        """Where a shard lies or will lie."""
        return self._folder / f"{info.digest}.shard"

    def part(self, info: ShardInfo) -> Path:
        """Where an unfinished download lies."""
        return self._folder / f"{info.digest}.part"

    def has(self, info: ShardInfo) -> bool:
        """Whether the shard is here and sound; hashed once per process, removed if it is not."""
        path = self.path(info)
        if not path.exists():
            return False
        if info.digest not in self._verified:
            if path.stat().st_size != info.size or remembered_digest(path) != info.digest:
                path.unlink()
                return False
            self._verified.add(info.digest)
        return True


def stock(folder: Path, shard: StoredShard) -> None:
    """Put a shard of this machine into a cache, by a link: as if it had been fetched before."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{shard.info.digest}.shard").symlink_to(shard.path.resolve())


class Download:
    """One shard on its way into a cache.

    Args:
        cache: where it goes.
        info: what it must be.

    Raises:
        DeviceError: E527, the disk has no room for it.
    """

    def __init__(self, cache: ShardCache, info: ShardInfo) -> None:
        self._cache = cache
        self._info = info
        self._part = cache.part(info)
        self._part.touch()
        self.chunks = -(-info.size // CHUNK_BYTES)
        self.next = min(self._part.stat().st_size, info.size) // CHUNK_BYTES
        self.received = 0
        self._check_room()

    @property
    def done(self) -> bool:
        """All chunks are here."""
        return self.next >= self.chunks

    def accept(self, index: int, payload: memoryview) -> bool:
        """Write a chunk.

        Returns:
            False if it was not the expected one (a repeat after a reconnect); it is ignored then.

        Raises:
            DeviceError: E525, it has a wrong length.
        """
        if index != self.next:
            return False
        if len(payload) != min(CHUNK_BYTES, self._info.size - index * CHUNK_BYTES):
            raise DeviceError("E525", f"shard chunk {index} has {len(payload)} bytes")
        with self._part.open("r+b") as file:
            file.seek(index * CHUNK_BYTES)
            file.write(payload)
        self.next += 1
        self.received += len(payload)
        return True

    def finish(self) -> None:
        """Check the digest and move the file into the cache.

        Raises:
            DeviceError: E525, the bytes are not those that were promised; they are removed.
        """
        os.truncate(self._part, self._info.size)
        if file_digest(self._part) != self._info.digest:
            self._part.unlink()
            raise DeviceError(
                "E525",
                f"shard of rank {self._info.rank} arrived with a wrong SHA-256 and was removed",
                hints=["start again: it is fetched anew", "convert again if this repeats"],
            )
        self._part.replace(self._cache.path(self._info))

    def _check_room(self) -> None:
        system = os.statvfs(self._part.parent)
        needed = self._info.size - self.next * CHUNK_BYTES
        free = system.f_bavail * system.f_frsize
        if needed > free:
            raise DeviceError(
                "E527",
                f"no room for the shard: {needed} bytes needed, {free} free",
                where=str(self._part.parent),
                numbers={"needed": needed, "available": free},
                hints=["tessera cluster worker --cache FOLDER-WITH-ROOM"],
            )


def find_shard(shards: Sequence[StoredShard], digest: str) -> StoredShard | None:
    """Return the head's shard with that digest."""
    return next((shard for shard in shards if shard.info.digest == digest), None)
