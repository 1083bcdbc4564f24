"""Builds the kernels with the system's compiler, once per machine and version of the sources.

The result lies in the user's cache folder under a name that is the hash of sources, flags and
compiler, so that nothing stale is ever loaded; it is written beside its place and moved there, so
that several processes may build at once. A wheel may carry prebuilt libraries in ``prebuilt/``.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from runtimes.cluster.native.cpu import Variant
from toolchain.errors import ToolError

_HERE = Path(__file__).parent
# No contraction and no -ffast-math: the same bits from every compiler.
_FLAGS = ("-std=c99", "-O3", "-ffp-contract=off", "-fPIC", "-shared")
_TIMEOUT_S = 300


def build(variant: Variant, compiler: Sequence[str] | None = None) -> Path:
    """Return the library of a variant, built if it is not in the cache.

    Args:
        variant: the instruction set.
        compiler: command of a C compiler; ``$CC``, cc, gcc or clang by default.

    Raises:
        ToolError: E601 there is no compiler, E602 it failed.
    """
    prebuilt = _HERE / "prebuilt" / f"{variant.name}.so"
    if compiler is None and prebuilt.exists():
        return prebuilt
    command = [*(compiler or find_compiler()), *_FLAGS, *variant.flags]
    library = cache_folder() / f"kernels-{variant.name}-{_digest(command)}.so"
    if not library.exists():
        _compile(command, library)
    return library


def find_compiler() -> list[str]:
    """Return the command of the system's C compiler.

    Raises:
        ToolError: E601, there is none.
    """
    names = [os.environ["CC"]] if os.environ.get("CC") else ["cc", "gcc", "clang"]
    for name in names:
        if path := _which(name):
            return [path]
    raise ToolError(
        "E601",
        "no C compiler found for the cluster kernels",
        hints=["apt-get install gcc", "set CC to the compiler's command"],
    )


def _which(name: str) -> str | None:
    """Find a program; `shutil.which` would load three compressors into every worker."""
    places = [Path(folder) / name for folder in os.get_exec_path()]  # an absolute name stays
    return next((str(p) for p in places if p.is_file() and os.access(p, os.X_OK)), None)


def cache_folder() -> Path:
    """Folder of built kernels: ``$TESSERA_CACHE``, else the user's cache folder."""
    if folder := os.environ.get("TESSERA_CACHE"):
        return Path(folder)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "tessera"


def sources() -> list[Path]:
    """Return the C files, in a fixed order."""
    return sorted(_HERE.glob("*.c"))


def _digest(command: Sequence[str]) -> str:
    digest = hashlib.sha256("\0".join([*command, sys.platform]).encode())
    for path in sorted([*_HERE.glob("*.c"), *_HERE.glob("*.h")]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _compile(command: Sequence[str], library: Path) -> None:
    import subprocess  # here, since most starts find the library built
    import tempfile

    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent, prefix="build-") as folder:
        fresh = Path(folder) / library.name
        arguments = [*command, *map(str, sources()), "-o", str(fresh), "-lm", "-lpthread"]
        try:
            done = subprocess.run(
                arguments, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ToolError("E602", f"the C compiler could not run: {error}") from error
        if done.returncode:
            first = next((line for line in done.stderr.splitlines() if "error" in line), "")
            raise ToolError("E602", f"the C compiler failed: {first}", where=command[0])
        fresh.replace(library)
