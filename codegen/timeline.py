"""A plan's arena over time, as rectangles for a picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from toolchain.plan.plan import Plan, Slot

WIDTH, HEIGHT = 920, 320
COLOURS = 12


@dataclass(frozen=True)
class Box:
    """A slot's life as a rectangle: x is time, y is the address (0 at the bottom)."""

    x: float
    y: float
    width: float
    height: float
    colour: int
    title: str


@dataclass(frozen=True)
class Border:
    """The lower end of a region, where the arena lies in several."""

    y: float
    region: str


@dataclass(frozen=True)
class Timeline:
    """The arena of one plan over its steps.

    Attributes:
        label: what the plan is called.
        plan: the plan.
        boxes: one per slot, the largest first.
        alive: bytes alive in each step.
        ceiling: bytes at the top of the picture, the same for all plans of a page.
        borders: of the regions, none if there is one.
    """

    label: str
    plan: Plan
    boxes: tuple[Box, ...]
    alive: tuple[int, ...]
    ceiling: int
    borders: tuple[Border, ...] = ()

    @property
    def bound_y(self) -> float:
        """Return the height of the arena's upper end in the picture."""
        return HEIGHT * (1 - self.plan.arena_bytes / self.ceiling)

    @property
    def alive_points(self) -> str:
        """Return the line of bytes alive as the points of an SVG polyline."""
        joined = -(-len(self.alive) // WIDTH)  # steps in a pixel
        peaks = [max(self.alive[i : i + joined]) for i in range(0, len(self.alive), joined)]
        column = WIDTH / len(peaks)
        points = (
            f"{x * column:.1f},{HEIGHT * (1 - min(size, self.ceiling) / self.ceiling):.1f}"
            for step, size in enumerate(peaks)
            for x in (step, step + 1)
        )
        return " ".join(points)


def timeline(
    label: str, plan: Plan, ceiling: int, *, letters: int = 80, most: int | None = None
) -> Timeline:
    """Return the picture of ``plan``'s arena.

    Args:
        label: what the plan is called.
        plan: the plan.
        ceiling: bytes at the top.
        letters: longest name of a buffer that is written out.
        most: buffers to draw, the largest ones; ``None`` for all.
    """
    steps = 1 + max((slot.last for slot in plan.slots), default=0)
    bases = plan.bases
    boxes = [
        _box(slot, number, steps, ceiling, bases, letters) for number, slot in enumerate(plan.slots)
    ]
    seen = tuple(sorted(boxes, key=lambda box: -box.width * box.height)[:most])
    borders = tuple(Border(HEIGHT * (1 - base / ceiling), name) for name, base in bases.items())
    return Timeline(label, plan, seen, alive(plan), ceiling, borders if len(bases) > 1 else ())


def alive(plan: Plan) -> tuple[int, ...]:
    """Return the bytes alive in each step; bytes that two slots share count for both."""
    steps = 1 + max((slot.last for slot in plan.slots), default=0)
    change = [0] * (steps + 1)
    for slot in plan.slots:
        change[slot.first] += slot.size
        change[slot.last + 1] -= slot.size
    found, now = [], 0
    for step in range(steps):
        now += change[step]
        found.append(now)
    return tuple(found)


def shortened(name: str, letters: int) -> str:
    """Return a name of at most so many letters; its middle goes first."""
    if len(name) <= letters:
        return name
    head = (letters - 1) // 2
    return f"{name[:head]}…{name[len(name) - (letters - 1 - head) :]}"


def _box(
    slot: Slot, number: int, steps: int, ceiling: int, bases: Mapping[str, int], letters: int
) -> Box:
    column = WIDTH / steps
    names = " = ".join(shortened(name, letters) for name in slot.tensors or (slot.name,))
    return Box(
        x=slot.first * column,
        y=HEIGHT * (1 - (bases[slot.region] + slot.end) / ceiling),
        width=(slot.last - slot.first + 1) * column,
        height=HEIGHT * slot.size / ceiling,
        colour=number % COLOURS,
        title=f"{names}: {slot.size:,} bytes at {slot.offset:,} of {slot.region}, "
        f"steps {slot.first} to {slot.last}",
    )
