"""The generated C with a shadow: who owns each byte of the arena, checked at every access.

Where `toolchain.plan.check` walks over a plan, this runs the C that was made from it. The compiler
puts a call before each load and store (it does so for its thread sanitizer); a small runtime
(``shadow.c``) takes these calls, marks each byte that is written with its owner, a row of a tensor,
and refuses a load of anything but the rows that the running node may read. Staged constants
(`toolchain.plan.staging`) own what they are copied to, for the nodes that read them. It sees what a
plan cannot show: kernels that read too far, rows that are moved too late, addresses that were
printed wrongly.

The shadow knows tiles only by tensor: what a tile computes again may overlap rows of another tile.
"""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from codegen.arenas import arenas
from codegen.model import build_model
from runtimes.host.library import HostModel, host_compiler, write_files
from runtimes.host.shadow_layout import Layout, row_bytes
from toolchain.errors import InternalError, ToolError
from toolchain.ir.graph import Graph
from toolchain.ir.tensor import Array, Tensor
from toolchain.plan.plan import ARENA, Plan
from toolchain.plan.repeats import repeated

i32 = ctypes.c_int32
_SCRATCH, _STAGED = -2, -3
_KINDS = {
    1: "writes byte {address}, which is none of its own: it belongs to {owner}",
    2: "reads byte {address}, which belongs to {owner}",
    3: "reads byte {address}, which belongs to {owner}: not in its window",
    4: "does not find {owner}: another row has taken its place",
}


class _Tables(ctypes.Structure):
    """``shadow_tables`` of ``shadow.c``."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("banks", "copies", "owners", "nodes", "places")),
        *((name, ctypes.c_void_p) for name in ("needs", "moves", "low", "high", "seen", "calls")),
        *((name, i32) for name in ("bank_count", "copies_count", "node_count", "moves_count")),
        ("window", i32),
    ]


class _Bank(ctypes.Structure):
    """``bank`` of ``shadow.c``."""

    _fields_ = [("start", ctypes.c_void_p), ("bytes", i32), ("base", i32)]


class _Staged(ctypes.Structure):
    """``staged`` of ``shadow.c``."""

    _fields_ = [
        ("source", ctypes.c_void_p),
        *((name, i32) for name in ("bytes", "to", "node", "last")),
    ]


class _Fault(ctypes.Structure):
    """``shadow_fault`` of ``shadow.c``."""

    _fields_ = [(name, i32) for name in ("kind", "address", "node", "call", "tensor", "row")]


class ShadowModel:
    """A network whose every access to the arena is checked; slow, for tests.

    Args:
        graph: the network.
        plan: what ``files`` were emitted from. It may be wrong: that is found.
        files: emitted from both.
        folder: where to build.
        prefix: C prefix of the network.

    Raises:
        ToolError: E601 without a compiler, E602 if it refuses the code or has no instrumentation.
    """

    def __init__(
        self,
        graph: Graph,
        plan: Plan,
        files: Mapping[str, str],
        folder: Path,
        prefix: str = "model",
    ) -> None:
        self._graph, self._prefix = repeated(graph, plan.repeats), prefix
        path = _build(files, folder)
        self._library = ctypes.CDLL(str(path))
        self._library.shadow_end.restype = ctypes.POINTER(_Fault)
        tensors = graph.input_tensors, graph.output_tensors
        self._host = _ShadowedHost(self._library, prefix, *tensors, self._placed)
        flat = _end_to_end(plan)
        self._layout = Layout(self._graph, flat, build_model(graph, plan, prefix).calls)
        self._owners = np.full((max(1, flat.arena_bytes), 2), -1, np.int32)
        at = self._symbols(path)
        self._banks = [
            _Bank(at[arena.array], arena.size, plan.bases[arena.region]) for arena in arenas(plan)
        ]
        self._copies = [_Staged(at[table], *rest) for table, *rest in self._layout.copies]
        self._keep = self._open()

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Run one case.

        Raises:
            InternalError: E903 with the byte, its owner and the node that must not touch it.
        """
        self._owners[:] = -1
        self._library.shadow_begin()
        for tensor in self._graph.input_tensors:
            self._own(tensor)
        outputs = self._host.run(inputs)
        fault = self._library.shadow_end().contents
        if fault.kind:
            raise self._failure(fault)
        for tensor in self._graph.output_tensors:
            self._check_output(tensor)
        return outputs

    def _check_output(self, tensor: Tensor) -> None:
        slot, number = self._layout.slots[tensor.name], self._layout.ids[tensor.name]
        owners = self._owners[slot.offset : slot.offset + tensor.nbytes, 0]
        if (lost := np.flatnonzero(owners != number)).size:
            at = slot.offset + int(lost[0])
            thief = self._owner(*(int(value) for value in self._owners[at]))
            what = f"byte {at} belongs to {thief} when the caller reads it"
            raise InternalError("E903", what, where=f'output "{tensor.name}"')

    def _own(self, tensor: Tensor) -> None:
        """Mark the bytes of a whole input; a node that reads two could not tell them apart."""
        slot = self._layout.slots.get(tensor.name)
        if slot is not None:
            rows = np.arange(tensor.nbytes) // row_bytes(tensor)
            part = self._owners[slot.offset : slot.offset + tensor.nbytes]
            if (taken := np.flatnonzero(part[:, 0] >= 0)).size:
                owner = self._owner(*(int(value) for value in part[taken[0]]))
                what = f"the caller writes byte {slot.offset + int(taken[0])}, which is {owner}"
                raise InternalError("E903", what, where=f'input "{tensor.name}"')
            part[:, 0], part[:, 1] = self._layout.ids[tensor.name], rows

    def _placed(self, address: int, row: int, size: int) -> None:
        """Mark a row of the input that the caller hands over."""
        (low,) = (
            bank.base + address - bank.start
            for bank in self._banks
            if 0 <= address - bank.start < bank.bytes
        )
        self._owners[low : low + size] = self._layout.ids[self._graph.inputs[0]], row

    def _symbols(self, path: Path) -> dict[str, int]:
        """Return where the library's arenas and tables lie in this process."""
        from elftools.elf.elffile import ELFFile

        known = f"{self._prefix}_init"
        with path.open("rb") as stream:
            table = ELFFile(stream).get_section_by_name(".symtab")
            found = {s.name: int(s["st_value"]) for s in table.iter_symbols()}
        here = ctypes.cast(getattr(self._library, known), ctypes.c_void_p).value or 0
        shift = here - found[known]
        return {name: shift + value for name, value in found.items()}

    def _open(self) -> list[Any]:
        """Hand the tables to the runtime; return what must outlive it."""
        layout = self._layout
        seen = np.zeros(max(1, len(layout.needs) * layout.window), np.uint8)
        calls = np.zeros(max(1, len(layout.nodes)), np.int32)
        arrays = [
            self._owners,
            *(_array(rows) for rows in (layout.nodes, layout.places, layout.needs, layout.moves)),
            *(_array([(value,) for value in values]) for values in (layout.low, layout.high)),
            seen,
            calls,
        ]
        banks = (_Bank * len(self._banks))(*self._banks)
        copies = (_Staged * len(self._copies))(*self._copies)
        starts = ctypes.addressof(banks), ctypes.addressof(copies)
        sizes = len(banks), len(copies), len(layout.nodes), len(layout.moves), layout.window
        tables = _Tables(*starts, *(array.ctypes.data for array in arrays), *sizes)
        self._library.shadow_open(ctypes.byref(tables))
        return [banks, copies, arrays, tables]

    def _owner(self, tensor: int, row: int) -> str:
        if tensor == _SCRATCH:
            return f'scratch memory of "{self._layout.names[row]}"'
        if tensor == _STAGED:
            return f'staged constants of "{self._layout.names[self._layout.copies[row][3]]}"'
        return f'row {row} of "{self._layout.tensors[tensor]}"' if tensor >= 0 else "nobody"

    def _failure(self, fault: _Fault) -> InternalError:
        node, owner = self._layout.names[fault.node], self._owner(fault.tensor, fault.row)
        what = _KINDS[fault.kind].format(address=fault.address, owner=owner)
        numbers = {n: getattr(fault, n) for n in ("address", "call", "tensor", "row")}
        return InternalError("E903", f"call {fault.call} {what}", where=node, numbers=numbers)


@dataclass(frozen=True)
class _ShadowedHost(HostModel):
    """Tells ``placed`` of the address, row and size of what the caller hands over."""

    placed: Callable[[int, int, int], None]

    def place(self, address: int, row: int, data: Array) -> None:
        """See `HostModel.place`."""
        super().place(address, row, data)
        self.placed(address, row, data.nbytes)


def _end_to_end(plan: Plan) -> Plan:
    """Return ``plan`` with the arenas of all regions in one, as the shadow counts its bytes."""
    bases = plan.bases
    slots = tuple(
        replace(slot, region=ARENA, offset=bases[slot.region] + slot.offset) for slot in plan.slots
    )
    size = max((slot.end for slot in slots), default=0)
    return replace(plan, slots=slots, arena_bytes=max(size, plan.arena_bytes))


def _array(rows: Sequence[tuple[int, ...]]) -> Array:
    """Return a table for C; never empty, so that it has an address."""
    return np.array(rows or [(0,)], np.int32)


def _build(files: Mapping[str, str], folder: Path) -> Path:
    """Compile the C with a call before each access, link it with the runtime."""
    own = {n: (resources.files("runtimes.host") / n).read_text() for n in ("shadow.c", "shadow.h")}
    write_files({**files, **own}, folder)
    compiler, objects = host_compiler(), []
    checked = ["-fsanitize=thread", "-fno-builtin", "-DTSR_PROFILE=1", "-include", "shadow.h"]
    for number, name in enumerate(n for n in (*files, "shadow.c") if n.endswith(".c")):
        objects.append(f"{number}.o")
        flags = [] if name == "shadow.c" else checked
        _compile([*compiler, "-std=c99", "-O1", "-fPIC", *flags, "-Iinclude", "-Isrc", "-I.",
                  "-c", name, "-o", objects[-1]], folder)  # fmt: skip
    _compile([*compiler, "-shared", *objects, "-o", "libshadow.so", "-lm"], folder)
    return folder / "libshadow.so"


def _compile(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ToolError("E602", "the C compiler refused the code", where=done.stderr[-4000:])
