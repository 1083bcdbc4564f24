"""A shadow of the arena: for every byte, which value owns it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from toolchain.errors import FitError
from toolchain.ir.tensor import Tensor
from toolchain.plan.moments import Moment, Span
from toolchain.plan.plan import Plan, Slot

_MAX_ARENA = 2**28


class Shadow:
    """The arena of a plan while the plan is executed.

    Attributes:
        step: the step that runs, against which lifetimes are checked.
    """

    def __init__(self, plan: Plan) -> None:
        if not 0 <= plan.arena_bytes < _MAX_ARENA:
            raise wrong(f"an arena of {plan.arena_bytes} bytes is not possible")
        self.step = 0
        self._bases = plan.bases
        self._slots = _slots(plan, self._bases)
        self._owner = np.zeros(plan.arena_bytes + 8 * len(self._bases), np.int32)
        self._values = ["nothing"]  # by owner number
        self._numbers: dict[str, int] = {}  # owner number of each value written so far

    def span(self, tensor: Tensor) -> Span:
        """Return where a whole tensor lies."""
        slot = self.slot(tensor.name, tensor.nbytes, tensor.dtype.itemsize)
        return Span(tensor.name, slot.offset, slot.offset + tensor.nbytes)

    def slot(self, name: str, size: int, align: int) -> Slot:
        """Return the slot of that name, which must be alive, aligned and hold ``size`` bytes."""
        slot, where = self._slots.get(name), f'"{name}"'
        if slot is None:
            raise wrong("no slot holds this", where)
        if slot.size < size:
            raise wrong(f"needs {size} bytes, its slot has {slot.size}", where)
        if slot.offset % align:
            raise wrong(f"byte {slot.offset} is not aligned to {align}", where)
        if not slot.first <= self.step <= slot.last:
            lives = f"lives from {slot.first} to {slot.last}"
            raise wrong(f"is used in step {self.step}, but {lives}", where)
        return slot

    def region(self, name: str) -> str:
        """Return the region of a slot, empty if there is no such slot."""
        return self._slots[name].region if name in self._slots else ""

    def scratch(self, node: str, size: int) -> tuple[Span, ...]:
        """Return the scratch memory of ``node``, nothing if it needs none."""
        if not size:
            return ()
        name = f"{node}.scratch"
        offset = self.slot(name, size, 4).offset
        return (Span(name, offset, offset + size),)

    def made(self, value: str) -> bool:
        """Tell whether ``value`` has been written."""
        return value in self._numbers

    def rename(self, value: str, view: str) -> None:
        """Let ``view`` be another name of ``value``."""
        self._numbers[view] = self._numbers[value]

    def perform(self, moments: Iterable[Moment], scratch: tuple[Span, ...], reader: str) -> None:
        """Execute a kernel's moments; scratch memory is written at any time."""
        for moment in moments:
            for span in moment.reads:
                self.read(span, reader)
            for span in (*scratch, *moment.writes):
                self.write(span)
            for span in (*scratch, *moment.keeps):
                self.read(span, reader)

    def write(self, span: Span) -> None:
        """Give the bytes of ``span`` to its value."""
        if span.value not in self._numbers:
            self._numbers[span.value] = len(self._values)
            self._values.append(span.value)
        self._owner[span.low : span.high] = self._numbers[span.value]

    def read(self, span: Span, reader: str) -> None:
        """Refuse the plan unless every byte of ``span`` still belongs to its value."""
        if span.value not in self._numbers:
            raise wrong(f'reads "{span.value}" before it is made', reader)
        owners = self._owner[span.low : span.high]
        lost = np.flatnonzero(owners != self._numbers[span.value])
        if lost.size:
            thief = self._values[owners[lost[0]]]
            raise wrong(
                f"{self._bytes(span.low + int(lost[0]), span.low + int(lost[-1]) + 1)} of "
                f'"{span.value}" are overwritten by "{thief}" while they are needed',
                reader,
            )

    def _bytes(self, low: int, high: int) -> str:
        """Return a range of bytes as it is called in its region."""
        region, base = max(
            ((name, base) for name, base in self._bases.items() if base <= low), key=lambda b: b[1]
        )
        named = f" in {region}" if len(self._bases) > 1 else ""
        return f"bytes {low - base} to {high - base}{named}"


def wrong(what: str, where: str | None = None) -> FitError:
    """Return the error of a plan that must not be executed."""
    return FitError("E303", what, where=where)


def _slots(plan: Plan, bases: Mapping[str, int]) -> dict[str, Slot]:
    found: dict[str, Slot] = {}
    for slot in plan.slots:
        if slot.offset < 0 or slot.size < 0 or slot.end > plan.arena_bytes:
            raise wrong(
                f"bytes {slot.offset} to {slot.end} leave the arena of {plan.arena_bytes} bytes",
                f'slot "{slot.name}"',
            )
        for name in slot.tensors or (slot.name,):
            if name in found:
                raise wrong("two slots hold this", f'"{name}"')
            found[name] = replace(slot, offset=slot.offset + bases[slot.region])
    if (needed := sum(plan.regions.values())) > plan.arena_bytes:
        raise wrong(f"the regions need {needed} bytes, the arena has {plan.arena_bytes}", "slots")
    return found
