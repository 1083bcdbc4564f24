"""Sort Thumb instructions by how long they take: just enough of a decoder for a cycle estimate.

Source: Armv7-M Architecture Reference Manual (DDI 0403E), chapter A5, "The Thumb Instruction Set
Encoding", and A6 for the floating-point extension.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """Classes of instructions that share a timing."""

    ALU = "alu"  # also multiplications, moves between registers, hints
    LOAD = "load"
    STORE = "store"
    MULTIPLE = "multiple"  # several words: LDM, STM, PUSH, POP, LDRD, STRD, VLDM, VSTM
    DIVIDE = "divide"
    BRANCH = "branch"  # B, BX, BLX, POP {pc}: always taken
    CONDITIONAL = "conditional"  # B<c>, CBZ, CBNZ
    CALL = "call"  # BL
    TABLE = "table"  # TBB, TBH
    FLOAT_MAC = "float_mac"
    FLOAT_DIVIDE = "float_divide"


@dataclass(frozen=True)
class Instruction:
    """One instruction.

    Attributes:
        kind: its class.
        size: halfwords, 1 or 2.
        words: words moved by a load or store of several.
        loads_pc: a load that is also a branch.
    """

    kind: Kind
    size: int
    words: int = 0
    loads_pc: bool = False


def decode(first: int, second: int) -> Instruction:
    """Return the instruction whose halfwords are ``first`` and, if it has two, ``second``."""
    if first >> 11 < 0x1D:
        return _narrow(first)
    group = (first >> 11) & 3
    if first & 0xEC00 == 0xEC00:
        return _float(first, second)
    if group == 1:
        return _wide_multiple(first, second)
    if group == 2:
        return Instruction(_wide_branch(first, second) if second & 0x8000 else Kind.ALU, 2)
    return _wide_memory(first, second)


def _narrow(code: int) -> Instruction:
    top = code >> 12
    if top in (5, 6, 7, 8, 9) or code >> 11 == 9:
        loads = (code >> 9) & 7 >= 3 if top == 5 else bool(code & 0x800)
        return Instruction(Kind.LOAD if loads else Kind.STORE, 1)
    if top == 0xC:
        return Instruction(Kind.MULTIPLE, 1, (code & 0xFF).bit_count())
    if code & 0xF600 == 0xB400:
        pops = bool(code & 0x800)
        return Instruction(
            Kind.MULTIPLE, 1, (code & 0x1FF).bit_count(), pops and bool(code & 0x100)
        )
    return Instruction(_narrow_other(code), 1)


def _narrow_other(code: int) -> Kind:
    if code >> 11 == 0x1C or code >> 8 == 0x47:
        return Kind.BRANCH
    if code & 0xFD00 == 0x4400 and code & 0x87 == 0x87:  # ADD or MOV to pc
        return Kind.BRANCH
    conditional = code >> 12 == 0xD and (code >> 8) & 0xF < 14
    return Kind.CONDITIONAL if conditional or code & 0xF500 == 0xB100 else Kind.ALU


def _wide_multiple(first: int, second: int) -> Instruction:
    if first & 0x0240 == 0x0000:
        loads_pc = bool(first & 0x10) and bool(second & 0x8000)
        return Instruction(Kind.MULTIPLE, 2, second.bit_count(), loads_pc)
    if first & 0x0240 != 0x0040:
        return Instruction(Kind.ALU, 2)  # data processing with a shifted register
    if first & 0xFFF0 == 0xE8D0 and second & 0xFFE0 == 0xF000:
        return Instruction(Kind.TABLE, 2)
    if first & 0xFF60 in (0xE840, 0xE8C0) and first & 0x20 == 0:  # exclusive or acquire-release
        return Instruction(Kind.LOAD if first & 0x10 else Kind.STORE, 2)
    return Instruction(Kind.MULTIPLE, 2, 2)


def _wide_branch(first: int, second: int) -> Kind:
    form = second & 0x5000
    if form == 0x5000:
        return Kind.CALL
    if form == 0x1000:
        return Kind.BRANCH
    return Kind.CONDITIONAL if form == 0 and first & 0x0380 != 0x0380 else Kind.ALU


def _wide_memory(first: int, second: int) -> Instruction:
    if first & 0x0710 == 0x0000:
        return Instruction(Kind.STORE, 2)
    if first & 0x0610 == 0x0010:
        to_pc = second >> 12 == 15
        if to_pc and first & 0x60 != 0x40:
            return Instruction(Kind.ALU, 2)  # preload hints
        return Instruction(Kind.LOAD, 2, loads_pc=to_pc)
    divides = first & 0xFFD0 == 0xFB90 and second & 0xF0 == 0xF0
    return Instruction(Kind.DIVIDE if divides else Kind.ALU, 2)


def _float(first: int, second: int) -> Instruction:
    if first & 0x0F00 < 0x0E00:
        if first & 0x0FE0 == 0x0C40:
            return Instruction(Kind.ALU, 2)  # two core registers to or from the unit
        if first & 0x0120 == 0x0100:
            return Instruction(Kind.LOAD if first & 0x10 else Kind.STORE, 2)
        return Instruction(Kind.MULTIPLE, 2, second & 0xFF)
    if first & 0x0F00 == 0x0E00 and not second & 0x10:
        operation = first & 0xB0
        if operation in (0x00, 0x10, 0x90, 0xA0):
            return Instruction(Kind.FLOAT_MAC, 2)
        root = operation == 0xB0 and first & 0xF == 1 and second & 0xC0 == 0xC0
        if operation == 0x80 or root:
            return Instruction(Kind.FLOAT_DIVIDE, 2)
    return Instruction(Kind.ALU, 2)
