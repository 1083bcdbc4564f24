"""Arenas: one array of C for each piece of RAM that a plan uses."""

from __future__ import annotations

import re
from dataclasses import dataclass

from toolchain.plan.plan import ARENA, Plan


@dataclass(frozen=True)
class Arena:
    """The arena's part in one region.

    Attributes:
        region: the plan's name of the region.
        size: bytes.
    """

    region: str
    size: int

    @property
    def name(self) -> str:
        """Return the address of its first byte in C."""
        return arena_of(self.region)

    @property
    def array(self) -> str:
        """Return the C array, of ``uint64_t``, that holds it."""
        return f"arena_words{_suffix(self.region)}"

    @property
    def words(self) -> int:
        """Return the number of that array's elements."""
        return (self.size + 7) // 8

    @property
    def section(self) -> str:
        """Return the linker section, empty for the place of all static data."""
        return "" if self.region == ARENA else section_of(self.region)


def arenas(plan: Plan) -> tuple[Arena, ...]:
    """Return the arenas of ``plan``."""
    return tuple(Arena(region, size) for region, size in plan.regions.items())


def arena_of(region: str) -> str:
    """Return the C name of the arena in ``region``."""
    return ARENA + _suffix(region)


def section_of(region: str) -> str:
    """Return the linker section of ``region``; scripts that do not know it take it as bss."""
    return f".bss.tsr{_suffix(region)}"


def hot_section_of(region: str) -> str:
    """Return the section of hot weights in ``region``; any script takes it as initialised data."""
    return f".data.tsr_hot{_suffix(region)}"


def hot_macro(region: str) -> str:
    """Return the macro of C that marks hot weights in ``region``."""
    return "HOT" + _suffix(region).upper()


def _suffix(region: str) -> str:
    return "" if region == ARENA else "_" + re.sub(r"\W+", "_", region).lower()
