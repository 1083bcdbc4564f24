"""A TOML table that is read key by key, with errors that name file and key."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from toolchain.errors import UsageError


class Table:
    """A table and its place.

    Args:
        values: what the TOML parser returned.
        where: the file, for messages.
        path: prefix of this table's keys, for messages.
    """

    def __init__(self, values: Mapping[str, Any], where: str, path: str) -> None:
        self.values, self.where, self.path = values, where, path

    def allow(self, names: str) -> None:
        """Refuse any key that is not one of ``names`` (E102, with the nearest)."""
        known = names.split()
        for key in self.values:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                also = f". Did you mean {self.path}{near[0]}?" if near else ""
                raise UsageError("E102", f"unknown key {self.path}{key}{also}", where=self.where)

    def fail(self, key: str, need: str) -> UsageError:
        """Return the error that ``key`` must be ``need`` (E103)."""
        return UsageError("E103", f"{self.path}{key} must be {need}", where=self.where)

    def text(self, key: str, default: str | None = None) -> str:
        """Return a string."""
        value = self.values.get(key, default)
        if not isinstance(value, str):
            raise self.fail(key, "a string")
        return value

    def integer(self, key: str) -> int:
        """Return a number of 32 bits."""
        value = self.values.get(key)
        if not isinstance(value, int) or not _is_number(value):
            raise self.fail(key, "a number of 32 bits")
        return value

    def flag(self, key: str) -> bool:
        """Return a truth value."""
        value = self.values.get(key)
        if not isinstance(value, bool):
            raise self.fail(key, "true or false")
        return value

    def pairs(self, key: str) -> tuple[tuple[int, int], ...] | None:
        """Return a list of pairs of numbers of 32 bits, ``None`` when it is absent."""
        values = self.values.get(key)
        if values is None:
            return None
        if not isinstance(values, list) or not all(map(_is_pair, values)):
            raise self.fail(key, "a list of pairs of numbers of 32 bits")
        return tuple((first, second) for first, second in values)

    def size(self, key: str) -> int:
        """Return bytes, written ``64K``, ``2M`` or plain (K = 1024)."""
        match = re.fullmatch(r"([1-9]\d{0,9})(K|M)?", str(self.values.get(key)))
        if match is None:
            raise self.fail(key, 'a number of bytes such as "64K" or "2M" (K = 1024)')
        return int(match[1]) * {None: 1, "K": 2**10, "M": 2**20}[match[2]]

    def choice(self, key: str, known: Sequence[str]) -> str:
        """Return a string of ``known``."""
        value = self.text(key, "")
        if value not in known:
            raise self.fail(key, f"one of {', '.join(known)}")
        return value

    def choices(self, key: str, known: Sequence[str]) -> tuple[str, ...]:
        """Return a list of strings, all of ``known``."""
        values = self.values.get(key)
        if not isinstance(values, list) or any(value not in known for value in values):
            raise self.fail(key, f"a list of {', '.join(known)}")
        return tuple(values)

    def tables(self, key: str) -> list[Table]:
        """Return a list of tables."""
        values = self.values.get(key)
        if not isinstance(values, list) or not all(isinstance(v, dict) for v in values):
            raise self.fail(key, "a list of tables")
        return [Table(v, self.where, f"{key}[{i}].") for i, v in enumerate(values)]

    def optional(self, key: str, names: str) -> Table | None:
        """Return a table with the keys ``names``, ``None`` when it is absent."""
        if key not in self.values:
            return None
        if not isinstance(self.values[key], dict):
            raise self.fail(key, "a table")
        table = Table(self.values[key], self.where, f"{key}.")
        table.allow(names)
        return table


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))
