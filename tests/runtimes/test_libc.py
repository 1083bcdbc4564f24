"""The firmware's own memory functions move, set and compare what C's do, wherever the ends lie."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from codegen.emit import support
from runtimes.host.library import WARNINGS
from runtimes.toolchains import zig, zig_cache

_SIZE = 160
_COMPILERS = {
    name: command
    for name, command, there in (
        ("gcc", ("gcc",), shutil.which("gcc")),
        ("clang", (sys.executable, "-m", "ziglang", "cc"), zig()),
    )
    if there
}


@pytest.fixture(scope="module", params=_COMPILERS)
def library(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> ctypes.CDLL:
    folder = tmp_path_factory.mktemp("libc")
    source, made = folder / "tsr_libc.c", folder / "libc.so"
    source.write_text(support("tsr_libc.c"), encoding="utf-8")
    names = [f"-D{name}=own_{name}" for name in ("memcpy", "memmove", "memset", "memcmp")]
    flags = (*WARNINGS, "-O2", "-fPIC", "-shared", "-fno-builtin", *names)
    command = (*_COMPILERS[request.param], *flags, str(source), "-o", str(made))
    subprocess.run(command, check=True, env=os.environ | zig_cache())
    return ctypes.CDLL(str(made))


def buffer_of(rng: np.random.Generator) -> tuple[ctypes.Array[ctypes.c_uint8], bytes]:
    data = rng.bytes(_SIZE)
    buffer = (ctypes.c_uint8 * (_SIZE + 8))()
    skipped = -ctypes.addressof(buffer) % 8  # places count from an aligned one
    whole = (ctypes.c_uint8 * _SIZE).from_buffer(buffer, skipped)
    whole[:] = data
    return whole, data


@pytest.mark.parametrize("name", ["memcpy", "memmove"])
def test_bytes_arrive_however_the_ends_overlap(library: ctypes.CDLL, name: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(3000):
        count = int(rng.integers(0, 70))
        to, source = (int(n) for n in rng.integers(0, _SIZE - count + 1, 2))
        if rng.integers(2):
            to, source = to & ~3, source & ~3
        if name == "memcpy" and abs(to - source) < count:
            continue
        whole, before = buffer_of(rng)
        base = ctypes.addressof(whole)
        move = getattr(library, f"own_{name}")
        move(*map(ctypes.c_void_p, (base + to, base + source)), ctypes.c_size_t(count))
        want = bytearray(before)
        want[to : to + count] = before[source : source + count]
        assert bytes(whole) == bytes(want), (to, source, count)


def test_memory_is_set_and_compared(library: ctypes.CDLL) -> None:
    rng = np.random.default_rng(1)
    for _ in range(500):
        place, count = int(rng.integers(0, 40)), int(rng.integers(0, 100))
        whole, before = buffer_of(rng)
        start, value = ctypes.c_void_p(ctypes.addressof(whole) + place), int(rng.integers(256))
        library.own_memset(start, value, ctypes.c_size_t(count))
        want = bytearray(before)
        want[place : place + count] = bytes([value]) * count
        assert bytes(whole) == bytes(want)
        order = library.own_memcmp(start, before[place:], ctypes.c_size_t(count))
        left, right = bytes(want)[place : place + count], before[place : place + count]
        assert (order > 0) - (order < 0) == (left > right) - (left < right)
