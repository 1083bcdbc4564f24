"""What generated C calls: functions specialised by literals, tables in flash, one call per node."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from codegen.arenas import hot_macro
from toolchain.ir.tensor import Array, DType, Tensor
from toolchain.ops.base import Number, RowTaps

C_TYPES = {
    DType.INT8: "int8_t",
    DType.INT16: "int16_t",
    DType.INT32: "int32_t",
    DType.INT64: "int64_t",
    DType.UINT8: "uint8_t",
    DType.BOOL: "uint8_t",
    DType.FLOAT32: "float",
}


@dataclass(frozen=True)
class Function:
    """A kernel specialised by literals: one C function.

    ``inputs`` and ``outputs`` are the C types of the tensors it is called with, ``helpers`` the
    names of the functions it calls.
    """

    name: str
    template: str
    numbers: Mapping[str, Number]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    helpers: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Table:
    """A constant array in flash; a hot one is copied at start to a region of the plan's."""

    name: str
    ctype: str
    data: Array
    region: str = ""

    @property
    def hot(self) -> str:
        """Return the macro that puts it where it is read, with a space; empty for flash."""
        return f"{hot_macro(self.region)} " if self.region else ""


@dataclass(frozen=True)
class Copy:
    """A table that is copied to the arena when a stage begins.

    Attributes:
        place: where to.
        start: byte of the slot.
        table: its name in flash.
        ctype: of its elements.
        size: bytes.
    """

    place: str
    start: int
    table: str
    ctype: str
    size: int

    @property
    def argument(self) -> str:
        """Return the address of the copy, for the kernel."""
        return f"(const {self.ctype} *)({self.place})"


@dataclass(frozen=True)
class Call:
    """One node: the function it calls and its arguments as C expressions.

    ``sources`` and ``results`` are the addresses of inputs and outputs, ``extras`` the tables and
    scratch memory between them. With ``taps`` the function is a row kernel. In a stream the
    function makes one row, and `codegen.stream` says where rows lie. ``copies`` are
    made when the stage begins.
    """

    kind: ClassVar[str] = "layer"
    index: int
    node: str
    identifier: str
    macs: int
    function: Function
    sources: tuple[str, ...]
    extras: tuple[str, ...]
    results: tuple[str, ...]
    outputs: tuple[Tensor, ...]
    taps: RowTaps | None
    copies: tuple[Copy, ...] = ()

    def extras_of(self, row: str) -> tuple[str, ...]:
        """Return the extra arguments of a call that makes ``row``, a C expression."""
        lines = self.taps.lines if self.taps else ()
        steps = (f" * {step}" if step > 1 else "" for step in lines)
        handed = zip(self.extras, steps, strict=False)
        found = tuple(f"{table} + {row}{step}" for table, step in handed)
        return (*found, *self.extras[len(found) :])


def identifier(text: str) -> str:
    """Return ``text`` as a C identifier (may collide: callers add a number)."""
    return re.sub(r"\W+", "_", text).strip("_").lower() or "node"
