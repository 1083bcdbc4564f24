"""Canaries in the RAM that the linker gave to nobody: whoever writes there is found out."""

from __future__ import annotations

import numpy as np

from runtimes.emulator.machine import Machine

_CANARY = b"\xa5"


def paint_unused(machine: Machine) -> None:
    """Fill the RAM between the linked sections with canaries."""
    for low, high in _unused(machine):
        machine.write(low, _CANARY * (high - low))


def strays(machine: Machine) -> tuple[int, int] | None:
    """Return the first and last address whose canary is dead, ``None`` if all are alive."""
    dead = [
        low + int(at)
        for low, high in _unused(machine)
        for at in np.flatnonzero(np.frombuffer(machine.read(low, high - low), "u1") != _CANARY[0])
    ]
    return (dead[0], dead[-1]) if dead else None


def _unused(machine: Machine) -> list[tuple[int, int]]:
    """Return the pieces of RAM between the linked sections, ``(low, high)``."""
    found = []
    for region in (r for r in machine.board.regions if r.kind == "ram"):
        low = region.start
        for address, size in sorted(machine.image.allocated):
            if address < region.end and region.start < address + size:  # it may cross a border
                found.append((low, address))
                low = max(low, address + size)
        found.append((low, region.end))
    return [(low, high) for low, high in found if low < high]
