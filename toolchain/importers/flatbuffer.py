"""A bounds-checked walk over a flatbuffer, before any generated accessor trusts its offsets.

The walk follows a table of the fields that will be read. Every table, vtable, vector and string
must lie inside the file. Each entry of a vector of tables takes four bytes of the file, so that a
walk with more entries than that reads overlapping vectors: it is stopped, and no hostile file
makes it longer than the file. Reference: FlatBuffers internals, "Encoding".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from toolchain.errors import ModelError

_MAX_ENTRIES = 100_000  # far above any network for these machines
_OFFSET_SIZE = 4


@dataclass(frozen=True)
class Scalars:
    """A vector of scalars of ``size`` bytes, or a string (``size`` 1)."""

    size: int


@dataclass(frozen=True)
class Table:
    """A table: what its fields hold, by slot; slots not named are scalars or are never read.

    Attributes:
        name: for messages.
        scalars: size in bytes of the scalar fields, by slot.
        vectors: vectors of scalars and strings.
        tables: single tables, and vectors of tables.
        loose: the slots are unknown; each present field must fit as a scalar of 4 bytes.
    """

    name: str
    scalars: Mapping[int, int] = field(default_factory=dict)
    vectors: Mapping[int, Scalars] = field(default_factory=dict)
    tables: Mapping[int, Table | Tables] = field(default_factory=dict)
    loose: bool = False


@dataclass(frozen=True)
class Tables:
    """A vector of tables."""

    table: Table


class _Walk:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.seen: set[tuple[str, int]] = set()
        self.entries = min(_MAX_ENTRIES, len(data) // _OFFSET_SIZE)

    def number(self, form: str, position: int, what: str) -> int:
        if not 0 <= position <= len(self.data) - struct.calcsize(form):
            raise corrupt(f"{what} points outside the file")
        return int(struct.unpack_from(form, self.data, position)[0])

    def follow(self, position: int, what: str) -> int:
        return position + self.number("<I", position, what)

    def slots(self, position: int, what: str) -> tuple[Mapping[int, int], int]:
        """Return the places of the present fields by slot, and the end of the table."""
        vtable = position - self.number("<i", position, what)
        vtable_size = self.number("<H", vtable, what)
        end = position + self.number("<H", vtable + 2, what)
        if vtable_size < 4 or vtable + vtable_size > len(self.data) or end > len(self.data):
            raise corrupt(f"{what} is cut short")
        if vtable_size % 2:  # readers differ in whether half an entry is one
            raise corrupt(f"the fields of {what} are listed in {vtable_size} bytes")
        offsets = struct.unpack_from(f"<{(vtable_size - 4) // 2}H", self.data, vtable + 4)
        return {slot: position + o for slot, o in enumerate(offsets) if o}, end

    def children(self, table: Table, position: int) -> Iterator[tuple[Table, int]]:
        """Check one table's own fields; yield the tables that it holds."""
        places, end = self.slots(position, table.name)
        for slot, place in places.items():
            size = table.scalars.get(
                slot, _OFFSET_SIZE if slot in {*table.vectors, *table.tables} else 1
            )
            if place + size > end or (table.loose and place + 4 > len(self.data)):
                raise corrupt(f"a field of {table.name} lies outside it")
        for slot, vector in table.vectors.items():
            if slot in places:
                self.vector(places[slot], vector.size, table.name)
        for slot, child in table.tables.items():
            if slot not in places:
                continue
            if isinstance(child, Table):
                yield child, self.follow(places[slot], table.name)
                continue
            start, count = self.vector(places[slot], _OFFSET_SIZE, table.name)
            self.entries -= count
            if self.entries < 0:
                raise corrupt(f"{count} entries {child.table.name} are more than it can hold")
            for place in range(start, start + _OFFSET_SIZE * count, _OFFSET_SIZE):
                yield child.table, self.follow(place, table.name)

    def vector(self, place: int, size: int, what: str) -> tuple[int, int]:
        """Return start and length of a vector inside the file."""
        start = self.follow(place, what)
        count = self.number("<I", start, what)
        if start + 4 + count * size > len(self.data):
            raise corrupt(f"a vector of {what} claims {count} entries")
        return start + 4, count


def check(data: bytes, root: Table, position: int | None = None) -> None:
    """Check every part of ``data`` that ``root`` describes.

    Args:
        data: the file.
        root: what is there.
        position: where it begins; by default where the file says its root is.

    Raises:
        ModelError: E204 if a part lies outside the file.
    """
    walk = _Walk(data)
    pending = [(root, walk.follow(0, "the file") if position is None else position)]
    while pending:
        table, position = pending.pop()
        if (table.name, position) not in walk.seen:
            walk.seen.add((table.name, position))
            pending.extend(walk.children(table, position))


def corrupt(why: str) -> ModelError:
    """Return the error for a damaged file."""
    return ModelError("E204", f"the file is damaged: {why}")
