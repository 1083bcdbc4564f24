"""Numbers in memory that Python, the kernels and numpy share; numpy is not needed for it.

A device computes with the kernels alone: what it receives, keeps and sends are buffers whose
address the kernels take. Where numpy is at home (the engine without a compiler, conversion)
`runtimes.cluster.arrays` looks at the same memory as arrays.
"""

from __future__ import annotations

import ctypes
import mmap
from array import array
from dataclasses import dataclass


@dataclass(slots=True)
class Buffer:
    """A piece of memory.

    Attributes:
        address: of its first byte, 0 if it has none.
        view: its bytes; keeps the memory alive.
    """

    address: int
    view: memoryview

    @classmethod
    def over(cls, memory: bytearray | mmap.mmap | array[float] | array[int]) -> Buffer:
        """Return all of a writable object's memory."""
        view = memoryview(memory)
        if not view.nbytes:
            return cls(0, memoryview(b""))
        return cls(ctypes.addressof(ctypes.c_char.from_buffer(memory)), view.cast("B"))

    @classmethod
    def zeros(cls, size: int) -> Buffer:
        """Set whole pages aside: aligned for the kernels, and occupied only as they are used."""
        return cls.over(pages(size)).part(0, size)

    def part(self, start: int, stop: int) -> Buffer:
        """Return bytes ``start..stop-1``, of the same memory."""
        return Buffer(self.address + start, self.view[start:stop])

    def __len__(self) -> int:
        return len(self.view)


@dataclass(slots=True)
class Rows:
    """A matrix (count, columns) of little-endian numbers, row after row.

    Attributes:
        memory: exactly the numbers.
        count: of rows.
        columns: numbers per row.
        fixed: they are int64 in units of 2^-24, else float32.
    """

    memory: Buffer
    count: int
    columns: int
    fixed: bool = False

    @classmethod
    def empty(cls, count: int, columns: int, *, fixed: bool = False) -> Rows:
        """Make a matrix to be filled."""
        return cls(Buffer.over(bytearray(count * columns * _item(fixed))), count, columns, fixed)

    @classmethod
    def copy_of(cls, data: memoryview | bytes, columns: int) -> Rows:
        """Copy whole rows of float32 out of received bytes."""
        return cls(Buffer.over(bytearray(data)), len(data) // (columns * _item(False)), columns)

    @property
    def address(self) -> int:
        """Of the first number."""
        return self.memory.address

    @property
    def size(self) -> int:
        """How many numbers."""
        return self.count * self.columns

    def part(self, start: int, stop: int) -> Rows:
        """Return rows ``start..stop-1``, of the same memory."""
        width = self.columns * _item(self.fixed)
        memory = self.memory.part(start * width, stop * width)
        return Rows(memory, stop - start, self.columns, self.fixed)

    def last(self, count: int) -> Rows:
        """Return the last rows, of the same memory."""
        return self.part(self.count - count, self.count)

    def columns_from(self, start: int, other: Rows) -> None:
        """Fill columns ``start ..`` with another matrix of as many rows."""
        width, item = other.columns * _item(self.fixed), _item(self.fixed)
        for row in range(self.count):
            to = (row * self.columns + start) * item
            self.memory.view[to : to + width] = other.memory.view[row * width : (row + 1) * width]

    def __len__(self) -> int:
        return self.count


def pages(size: int) -> mmap.mmap:
    """Map fresh pages of this process alone."""
    if hasattr(mmap, "MAP_PRIVATE"):
        return mmap.mmap(-1, max(size, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return mmap.mmap(-1, max(size, 1))


def _item(fixed: bool) -> int:
    return 8 if fixed else 4
