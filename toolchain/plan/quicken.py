"""Quicken: kernels of least scratch memory give way to faster ones where these have room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from toolchain.plan.plan import ARENA, Slot

_WORD = 4


class Faster(NamedTuple):
    """A kernel, the scratch memory that it needs, and the instructions that it saves."""

    kernel: str
    scratch: int
    saves: int


class Taken(NamedTuple):
    """Slots with those of faster kernels, and these kernels by step."""

    slots: list[Slot]
    kernels: Mapping[int, Faster]


class _Place(NamedTuple):
    offset: int
    kernel: Faster

    @property
    def end(self) -> int:
        return self.offset + self.kernel.scratch


def ladder(kernels: Sequence[Faster]) -> tuple[Faster, ...]:
    """Return the kernels that save anything, the fastest first, the others for less memory.

    Args:
        kernels: the preferred one first: none is taken to be faster than this.
    """
    capped = (k._replace(saves=min(k.saves, kernels[0].saves)) for k in kernels)
    found: list[Faster] = []
    for kernel in sorted(capped, key=lambda k: (-k.saves, k.scratch)):
        if kernel.saves > 0 and (not found or kernel.scratch < found[-1].scratch):
            found.append(kernel)
    return tuple(found)


def most_saved(faster: Mapping[int, Sequence[Faster]]) -> int:
    """Return the instructions that the fastest kernels save."""
    return sum(kernels[0].saves for kernels in faster.values())


def quicken(
    slots: Sequence[Slot],
    names: Mapping[int, str],
    faster: Mapping[int, Sequence[Faster]],
    end: int,
    most: float | None,
) -> Taken:
    """Choose faster kernels whose scratch memory fits beside what is alive.

    Args:
        slots: of the arena, those of scratch memory among them.
        names: of the scratch memory, by step.
        faster: kernels that may be taken instead of those chosen, by step (`ladder`).
        end: bytes of the arena.
        most: instructions by which all may miss the fastest kernels together: for that the arena
            grows as far as it must, ``None`` for not at all.
    """
    places = {step: _places(slots, step, names[step], faster[step]) for step in faster}
    taken = _chosen(places, faster, end, most)
    gone = {names[step] for step in taken}
    kept = [slot for slot in slots if slot.name not in gone]
    kept += [_scratch(names[step], step, place) for step, place in taken.items()]
    return Taken(
        [slot for slot in kept if slot.size],
        {step: place.kernel for step, place in taken.items()},
    )


def hoped(
    slots: Sequence[Slot],
    names: Mapping[int, str],
    faster: Mapping[int, Sequence[Faster]],
    end: int,
    most: float | None,
) -> dict[int, Faster]:
    """Choose kernels as `quicken` does, as if all that is free in a step lay side by side."""
    places = {}
    for step, kernels in faster.items():
        others = (s for s in slots if s.first <= step <= s.last and s.name != names[step])
        used = min(end, sum(-(-slot.size // _WORD) * _WORD for slot in others))
        places[step] = [_Place(used, kernel) for kernel in kernels]
    taken = _chosen(places, faster, end, most)
    return {step: place.kernel for step, place in taken.items()}


def _chosen(
    places: Mapping[int, Sequence[_Place]],
    faster: Mapping[int, Sequence[Faster]],
    end: int,
    most: float | None,
) -> dict[int, _Place]:
    """Return the fastest kernels that fit the smallest arena in which they are fast enough."""
    ends = {place.end for found in places.values() for place in found if place.end > end}
    taken: dict[int, _Place] = {}
    for limit in (end, *sorted(ends)):
        fitting = {step: [p for p in found if p.end <= limit] for step, found in places.items()}
        taken = {step: found[0] for step, found in fitting.items() if found}
        missed = most_saved(faster) - sum(place.kernel.saves for place in taken.values())
        if most is None or missed <= most:
            break
    return taken


def _scratch(name: str, step: int, place: _Place) -> Slot:
    return Slot(name, (), ARENA, place.offset, place.kernel.scratch, step, step)


def _places(slots: Sequence[Slot], step: int, name: str, kernels: Sequence[Faster]) -> list[_Place]:
    """Return the first place for the scratch memory of each kernel."""
    alive = [slot for slot in slots if slot.first <= step <= slot.last and slot.name != name]
    alive.sort(key=lambda slot: slot.offset)
    return [_Place(_gap(alive, kernel.scratch), kernel) for kernel in kernels]


def _gap(alive: Sequence[Slot], size: int) -> int:
    """Return the first offset with ``size`` free bytes beside the slots alive, in order."""
    offset = 0
    for slot in alive:
        if slot.offset >= offset + size:
            break
        offset = max(offset, -(-slot.end // _WORD) * _WORD)
    return offset
