"""The memory of a rank's weights: as many blocks as fit stay, the rest cycle through a few slots.

A token needs the blocks of a shard in the order of the file, over and over. Under a budget the
blocks that do not fit are *streamed*: a thread reads the next ones into slots of a ring while
others compute. Streamed blocks are spread evenly between pinned ones, so that the disk always has
a whole stretch of computing to hide behind; all memory is allocated before the first token.
(TPI-LLM, arXiv 2410.00531, section 4.3, slides a window over all blocks; pinning makes the disk
read only what does not fit.)
"""

from __future__ import annotations

import contextlib
import mmap
import os
import threading
import time
from collections.abc import Sequence
from itertools import accumulate, pairwise
from pathlib import Path

from runtimes.cluster.buffers import Buffer, pages
from runtimes.cluster.shard import ShardFile, read_into
from runtimes.cluster.shard_layout import BlockEntry
from toolchain.cluster.residency import Residency
from toolchain.cluster.split import PAGE
from toolchain.errors import InternalError, TesseraError


class BlockMemory:
    """The blocks of a shard in memory that was set aside for them.

    Args:
        shard: the file; must stay open.
        names: the blocks, in the order of use.
        residency: a plan made for their sizes.

    Raises:
        ModelError: E224, a pinned block is damaged.
    """

    def __init__(self, shard: ShardFile, names: Sequence[str], residency: Residency) -> None:
        self._shard = shard
        self._entries = [shard.blocks[name] for name in names]
        self._numbers = {name: number for number, name in enumerate(names)}
        self._residency = residency
        streamed = set(residency.streamed)
        self._pinned: dict[int, Buffer] = {}
        self._memory = page_slab(residency.bytes)
        self._fill(streamed)
        self._ring = (
            Ring(self._entries, shard, self._slots(), residency.streamed) if streamed else None
        )

    def get(self, name: str) -> Buffer:
        """Return a block's bytes, valid until the next call; waits while it is being read.

        Raises:
            ModelError: E224, the block is damaged or cannot be read.
        """
        number = self._numbers[name]
        if self._ring is None or number in self._pinned:
            if self._ring is not None:
                self._ring.pass_by(number)
            return self._pinned[number]
        return self._ring.get(number)

    @property
    def waited_s(self) -> float:
        """Seconds spent waiting for the disk so far."""
        return self._ring.waited_s if self._ring is not None else 0.0

    def close(self) -> None:
        """Stop reading and free the memory; may be called twice."""
        if self._ring is not None:
            self._ring.close()
        self._pinned.clear()
        self._ring, self._memory = None, page_slab(0)

    def _fill(self, streamed: set[int]) -> None:
        offset = 0
        with DirectFile(self._shard.path) as file:
            for number, entry in enumerate(self._entries):
                if number not in streamed:
                    target = self._memory.part(offset, offset + entry.bytes)
                    file.read(target, entry.offset)
                    self._shard.check(entry.name, target.view)
                    self._pinned[number] = target
                    offset += entry.bytes

    def _slots(self) -> list[Buffer]:
        ends = accumulate((self._residency.pinned_bytes, *self._residency.slots))
        return [self._memory.part(a, b) for a, b in pairwise(ends)]


class Ring:
    """Slots that a thread keeps filled with the next streamed blocks."""

    def __init__(
        self,
        entries: Sequence[BlockEntry],
        shard: ShardFile,
        slots: list[Buffer],
        streamed: Sequence[int],
    ) -> None:
        self._entries = entries
        self._shard = shard
        self._slots = slots
        self._holds: list[int | None] = [None] * len(slots)  # block that a slot has or will have
        self._ready = [False] * len(slots)
        self._checked: set[int] = set()
        self._in_use: int | None = None  # slot
        self._cursor = 0  # block last asked for
        self._streamed = list(streamed)
        self._error: TesseraError | None = None
        self._closed = False
        self.waited_s = 0.0
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="read-ahead", daemon=True)
        self._thread.start()

    def pass_by(self, number: int) -> None:
        """Note that a pinned block is in use: the slot used before it is free."""
        with self._change:
            self._cursor, self._in_use = number, None
            self._change.notify_all()

    def get(self, number: int) -> Buffer:
        """Wait for a streamed block; its slot is in use until the next call."""
        with self._change:
            self._cursor, self._in_use = number, None
            if number in self._holds:
                self._in_use = self._holds.index(number)
            self._change.notify_all()
            began = time.perf_counter()
            while self._error is None and not self._has(number):
                self._change.wait()
            self.waited_s += time.perf_counter() - began
            if self._error is not None:
                raise self._error
            self._in_use = self._holds.index(number)
            return self._slots[self._in_use].part(0, self._entries[number].bytes)

    def close(self) -> None:
        """End the thread."""
        with self._change:
            self._closed = True
            self._change.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def _has(self, number: int) -> bool:
        return number in self._holds and self._ready[self._holds.index(number)]

    def _next_job(self) -> tuple[int, int] | None:
        """Find the nearest block that no slot holds, and a slot that may be overwritten."""
        later = [number for number in self._streamed if number >= self._cursor]
        wanted = (later + self._streamed)[: len(self._slots)]
        for number in wanted:
            if number not in self._holds:
                for slot, held in enumerate(self._holds):
                    if slot != self._in_use and held not in wanted:
                        return number, slot
                return None
        return None

    def _run(self) -> None:
        try:
            with DirectFile(self._shard.path) as file:
                while (job := self._wait_for_job()) is not None:
                    self._load(file, *job)
        except TesseraError as error:
            self._fail(error)
        except Exception as error:  # whoever waits for a block must hear of it
            self._fail(InternalError("E900", f"reading ahead failed: {error!r:.120}"))

    def _wait_for_job(self) -> tuple[int, int] | None:
        with self._change:
            while not self._closed and (job := self._next_job()) is None:
                self._change.wait()
            if self._closed or job is None:
                return None
            self._holds[job[1]], self._ready[job[1]] = job[0], False
            return job

    def _load(self, file: DirectFile, number: int, slot: int) -> None:
        entry = self._entries[number]
        target = self._slots[slot].part(0, entry.bytes)
        file.read(target, entry.offset)
        if number not in self._checked:
            self._shard.check(entry.name, target.view)
            self._checked.add(number)
        with self._change:
            self._ready[slot] = True
            self._change.notify_all()

    def _fail(self, error: TesseraError) -> None:
        with self._change:
            self._error = error
            self._change.notify_all()


def page_slab(size: int) -> Buffer:
    """Set page-aligned memory aside, in huge pages where the system has them.

    A token walks through all weights: with small pages the address translation alone costs a
    tenth of the time.
    """
    slab = pages(max(size, PAGE))
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):
            slab.madvise(mmap.MADV_HUGEPAGE)
    return Buffer.over(slab)


class DirectFile:
    """Reads that bypass the page cache where the system allows it.

    Weights pass once a token; caching them would push out what others need.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def __enter__(self) -> DirectFile:
        direct = getattr(os, "O_DIRECT", 0)
        try:
            self._fd = os.open(self._path, os.O_RDONLY | direct)
        except OSError:  # some file systems refuse O_DIRECT
            self._fd = os.open(self._path, os.O_RDONLY)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def read(self, target: Buffer, offset: int) -> None:
        """Fill a page-aligned buffer from a page-aligned offset.

        Raises:
            ModelError: E224, the file is cut short or cannot be read.
        """
        read_into(self._fd, target.view, offset, self._path)
