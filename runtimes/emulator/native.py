"""The compiled block hook: built once with the host's compiler, kept by the hash of its source."""

from __future__ import annotations

import ctypes
import hashlib
import subprocess
import tempfile
from functools import cache
from importlib import resources
from pathlib import Path

from runtimes.cache import cache_folder
from runtimes.host.library import host_compiler
from toolchain.errors import ToolError

u8, u16, u32, u64 = ctypes.c_uint8, ctypes.c_uint16, ctypes.c_uint32, ctypes.c_uint64
PAGE = 4096


class State(ctypes.Structure):
    """``emulation`` of ``hook.c``, field by field."""

    _fields_ = [
        ("code", ctypes.c_void_p),
        ("runs", ctypes.c_void_p),
        ("taken", ctypes.c_void_p),
        ("lengths", ctypes.c_void_p),
        ("marks", ctypes.c_void_p),
        ("counts", ctypes.c_void_p),
        ("layers", u32),
        ("base", u32),
        ("size", u32),
        ("stride", u32),
        ("current", u32),
        ("return_to", u32),
        ("last_end", u32),
        ("mark_return", u32),
        ("mark_layer", u32),
        ("instructions", u64),
        ("limit", u64),
        ("limit_reached", u32),
        ("incoming", ctypes.c_void_p),
        ("incoming_size", u32),
        ("incoming_next", u32),
        ("outgoing", ctypes.c_void_p),
        ("outgoing_size", u32),
        ("outgoing_next", u32),
        ("polls", u32),
        ("rx_state", u32),
        ("rx_mask", u32),
        ("rx_ready", u32),
        ("rx_data", u32),
        ("tx_state", u32),
        ("tx_mask", u32),
        ("tx_ready", u32),
        ("tx_data", u32),
        ("ticks", u32),
        ("ticks_down", u32),
        ("ticks_mask", u32),
        ("fault_kind", u32),
        ("fault_bytes", u32),
        ("fault_address", u64),
        ("stop", ctypes.c_void_p),
        ("read_register", ctypes.c_void_p),
        ("write_register", ctypes.c_void_p),
        ("deepest", ctypes.c_void_p),
        ("run_stack", u32),
        ("waits", ctypes.c_void_p),
        ("code_words", ctypes.c_void_p),
        ("data_words", ctypes.c_void_p),
        ("code_cached", u32),
        ("data_cached", u32),
        ("wait_states", u32),
        ("hidden", u32),
        ("word_shift", u32),
        ("word_last", u32),
    ]


class Page(ctypes.Structure):
    """``page`` of ``hook.c``."""

    _fields_ = [
        ("state", ctypes.POINTER(State)),
        ("base", u32),
        ("memory", u8 * PAGE),
    ]


@cache
def hook_library() -> ctypes.CDLL:
    """Return the compiled hook.

    Raises:
        ToolError: E601 without a C compiler, E602 if it fails.
    """
    source = (resources.files("runtimes.emulator") / "hook.c").read_text(encoding="utf-8")
    compiler = host_compiler()
    key = hashlib.sha256("\0".join([source, *compiler]).encode()).hexdigest()[:16]
    library = cache_folder() / f"emulator-{key}.so"
    if not library.exists():
        _build(source, compiler, library)
    return ctypes.CDLL(str(library))


def _build(source: str, compiler: tuple[str, ...], library: Path) -> None:
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        file, built = Path(folder, "hook.c"), Path(folder, "hook.so")
        file.write_text(source, encoding="utf-8")
        done = subprocess.run(
            [*compiler, "-std=c99", "-O2", "-shared", "-fPIC", str(file), "-o", str(built)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise ToolError("E602", "the emulator's hook does not compile", where=done.stderr)
        built.replace(library)


def address_of(library: ctypes.CDLL, name: str) -> int:
    """Return the address of a function of ``library``."""
    return ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0
