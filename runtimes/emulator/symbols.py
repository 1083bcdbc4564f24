"""What an ELF file says: bytes to load, functions by address, the layers of a network."""

from __future__ import annotations

import bisect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

_LAYER = re.compile(r"layer_(\d+)_\w+")


@dataclass(frozen=True)
class Function:
    """A function in flash; ``file`` is the source of a static one, else empty."""

    name: str
    address: int
    size: int
    file: str


@dataclass(frozen=True)
class Image:
    """A firmware file as the emulator needs it.

    Attributes:
        segments: ``(address, bytes)`` to write into flash.
        functions: in order of address.
        symbols: address of every global symbol.
        allocated: ``(address, size)`` of everything that the linker gave a place.
    """

    segments: tuple[tuple[int, bytes], ...]
    functions: tuple[Function, ...]
    symbols: Mapping[str, int]
    allocated: tuple[tuple[int, int], ...]

    @cached_property
    def _addresses(self) -> list[int]:
        return [function.address for function in self.functions]

    def function_at(self, address: int) -> Function | None:
        """Return the function that holds ``address``."""
        index = bisect.bisect_right(self._addresses, address) - 1
        if index < 0:
            return None
        found = self.functions[index]
        return found if address < found.address + max(found.size, 2) else None

    def place(self, address: int) -> str:
        """Return ``function+offset`` for people."""
        found = self.function_at(address)
        text = f"0x{address:08x}"
        return f"{found.name}+{address - found.address} (pc {text})" if found else f"pc {text}"

    def layers(self, prefix: str) -> dict[int, Function]:
        """Return the layer functions of the network ``prefix`` by the layer's number."""
        return {
            int(match[1]): function
            for function in self.functions
            if function.file == f"{prefix}.c" and (match := _LAYER.fullmatch(function.name))
        }


def read_image(elf: Path) -> Image:
    """Return the contents of an ELF file made by `runtimes.toolchains`."""
    from elftools.elf.elffile import ELFFile

    with elf.open("rb") as stream:
        file = ELFFile(stream)
        segments = tuple(
            (int(s["p_paddr"]), s.data())
            for s in file.iter_segments()
            if s["p_type"] == "PT_LOAD" and s["p_filesz"]
        )
        allocated = tuple(
            (int(s["sh_addr"]), int(s["sh_size"]))
            for s in file.iter_sections()
            if s["sh_flags"] & 2
        )
        functions, symbols, source = [], {}, ""
        for symbol in file.get_section_by_name(".symtab").iter_symbols():
            kind, local = symbol["st_info"]["type"], symbol["st_info"]["bind"] == "STB_LOCAL"
            if kind == "STT_FILE":
                source = Path(symbol.name).name
            elif kind == "STT_FUNC":
                address = int(symbol["st_value"]) & ~1
                file_name = source if local else ""
                size = int(symbol["st_size"])
                functions.append(Function(symbol.name, address, size, file_name))
            if not local:
                symbols[symbol.name] = int(symbol["st_value"])
    functions.sort(key=lambda function: function.address)
    return Image(segments, tuple(functions), symbols, allocated)
