"""Kernels: the ways to execute an operator, as data the planner can weigh.

A kernel is named like its C template and says for which instruction set it is written, which nodes
it can run, how it wants its constants packed and how much scratch memory it needs. The C itself is
``firmware_templates/kernels/<name>.c.j2``; no C text lives here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

from toolchain.ir.tensor import Array
from toolchain.kernels.price import estimate
from toolchain.kernels.price_armv6m import armv6m
from toolchain.ops.base import Lowered, Number, RowTaps


def integer(numbers: Mapping[str, Number], key: str) -> int:
    """Return one of a node's numbers that is an integer."""
    value = numbers[key]
    if not isinstance(value, int):
        raise TypeError(f"{key} is {value!r}, not an integer")
    return value


class Isa(IntEnum):
    """Instruction sets, each a superset of those before it."""

    PORTABLE = 0  # C99 for any CPU
    ARMV6M = 1  # the same, priced for Armv6-M (Cortex-M0, M0+), whose products have 32 bits only
    DSP = 2  # Armv7E-M / Armv8-M DSP extension (Cortex-M4, M7, M33)
    MVE = 3  # Armv8.1-M vector extension (Cortex-M55, M85)

    def runs(self, other: Isa) -> bool:
        """Tell whether a core of this instruction set runs kernels chosen for ``other``."""
        return other <= max(self, Isa.ARMV6M)


@dataclass(frozen=True)
class Helper:
    """A C function that kernels call: equal helpers of all nodes are one function.

    Attributes:
        template: name of its template.
        numbers: literals that specialise it.
    """

    template: str
    numbers: Mapping[str, Number]


@dataclass(frozen=True, eq=False)
class Specialised:
    """A kernel made ready for one node.

    Attributes:
        numbers: literals that specialise the template; equal numbers share one C function.
        tables: constants in flash, packed as the kernel reads them, in parameter order.
        scratch_bytes: working memory in the arena during this node only (4-byte aligned).
        in_order: the kernel finishes the output slice by slice along its first axis that is not 1,
            and for a slice never reads an input slice below that slice's window, nor writes one
            above it: what allows an output to overlap its input.
        in_place: the kernel reads all of a channel before it writes that channel, and the output
            has the input's channels and is no larger: it may start exactly where the input does.
        over_row: the kernel makes one row per call, no longer than those it reads, and may write
            it over any one of these, from the same first byte on.
        blocks: set if the kernel makes a pixel from the pixel at its place: runs of blocks as
            (pixels, count), in order. It reads all inputs of a block before it writes an output of
            it, so that a block may be written where it stood.
        taps: set if the C function is a row kernel; the generated layer then loops over the rows.
        helpers: functions that the kernel calls; its template knows their names as ``helpers``.
        instructions: estimate for the whole node (`toolchain.kernels.cost`), of a fold (`Op.fold`)
            for one call on average; 0 if there is none.
        armv6m: the same on a core of Armv6-M, of kernels that run there.
        template: name of the template if it is not the kernel's.
        reads: how often the tables are read from start to end; 0 if about once, or not known.
    """

    numbers: Mapping[str, Number]
    tables: Mapping[str, Array] = field(default_factory=dict)
    scratch_bytes: int = 0
    in_order: bool = False
    in_place: bool = False
    over_row: bool = False
    blocks: tuple[tuple[int, int], ...] = ()
    taps: RowTaps | None = None
    helpers: tuple[Helper, ...] = ()
    instructions: int = 0
    armv6m: int = 0
    template: str = ""
    reads: int = 0

    def cost(self, isa: Isa) -> int:
        """Return the estimate of instructions on a core of ``isa``."""
        return self.armv6m if isa is Isa.ARMV6M else self.instructions


class Kernel(Protocol):
    """One way to execute an operator."""

    @property
    def name(self) -> str:
        """Return the kernel's name, mostly the template's."""
        ...

    @property
    def isa(self) -> Isa:
        """Return the instruction set that the C needs."""
        ...

    def supports(self, lowered: Lowered) -> bool:
        """Tell whether this kernel can run the node."""
        ...

    def specialise(self, lowered: Lowered) -> Specialised:
        """Return the kernel's literals, packed tables and needs for the node."""
        ...


def _in_order(lowered: Lowered) -> bool:
    """Tell whether a row kernel is in order along the first axis that is not 1."""
    taps = lowered.taps
    if taps is None:
        return False
    return not lowered.by_channel or taps.batch > 1 or taps.out_rows > 1


@dataclass(frozen=True)
class Portable:
    """The portable C99 kernel of an operator: its template has the operator's own name."""

    name: str
    isa: Isa = Isa.PORTABLE

    def supports(self, lowered: Lowered) -> bool:
        """Accept every node: this is the fallback."""
        return lowered.kernel == self.name

    def specialise(self, lowered: Lowered) -> Specialised:
        """Use the operator's numbers and tables as they are."""
        return Specialised(
            lowered.numbers,
            lowered.tables,
            lowered.scratch_bytes,
            in_order=lowered.in_order or _in_order(lowered),
            over_row=lowered.over_row,
            taps=lowered.taps,
            instructions=estimate(lowered),
            armv6m=armv6m(lowered),
        )
