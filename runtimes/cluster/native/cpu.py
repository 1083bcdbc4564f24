"""Which build of the kernels a machine can run: one variant per instruction set."""

from __future__ import annotations

import ctypes
import platform
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Variant:
    """One instruction set.

    Attributes:
        name: for people and for file names.
        machines: values of ``platform.machine()`` it exists for; empty: all.
        features: CPU features that must be there, as Linux names them.
        flags: options of gcc and clang.
    """

    name: str
    machines: frozenset[str]
    features: frozenset[str]
    flags: tuple[str, ...]


_X86 = frozenset({"x86_64", "AMD64"})
_ARM = frozenset({"aarch64", "arm64"})
_AVX2 = frozenset({"avx2", "fma", "f16c"})
_AVX512 = frozenset({"avx512f", "avx512bw", "avx512vl", "avx512_vnni"})
_AVX2_FLAGS = ("-mavx2", "-mfma", "-mf16c")
_AVX512_FLAGS = ("-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512vnni")

# Best first; the last one runs everywhere.
VARIANTS = (
    Variant("avx512-vnni", _X86, _AVX2 | _AVX512, (*_AVX2_FLAGS, *_AVX512_FLAGS)),
    Variant("avx-vnni", _X86, _AVX2 | {"avx_vnni"}, (*_AVX2_FLAGS, "-mavxvnni")),
    Variant("avx2", _X86, _AVX2, _AVX2_FLAGS),
    Variant("neon-dotprod", _ARM, frozenset({"asimd", "asimddp"}), ("-march=armv8.2-a+dotprod",)),
    Variant("neon", _ARM, frozenset({"asimd"}), ("-march=armv8-a",)),
    Variant("portable", frozenset(), frozenset(), ()),
)


def features() -> frozenset[str]:
    """Return this machine's CPU features by their Linux names (empty if unknown)."""
    if sys.platform == "darwin" and platform.machine() in _ARM:
        dot = _sysctl("hw.optional.arm.FEAT_DotProd")
        return frozenset({"asimd", "asimddp"} if dot else {"asimd"})
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return frozenset()
    lines = (line.partition(":") for line in text.splitlines())
    flags = [value for key, _, value in lines if key.strip() in ("flags", "Features")]
    return frozenset(flags[0].split()) if flags else frozenset()


def supported() -> tuple[Variant, ...]:
    """Return the variants that run here, best first."""
    machine, have = platform.machine(), features()
    return tuple(
        variant
        for variant in VARIANTS
        if (not variant.machines or machine in variant.machines) and variant.features <= have
    )


def _sysctl(name: str) -> bool:
    """Read a boolean of the macOS kernel."""
    value, size = ctypes.c_int(0), ctypes.c_size_t(4)
    failed = ctypes.CDLL(None).sysctlbyname(
        name.encode(), ctypes.byref(value), ctypes.byref(size), None, 0
    )
    return not failed and value.value != 0
