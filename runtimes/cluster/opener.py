"""Opens the engine of a shard under a process's memory limit: what head and workers call."""

from __future__ import annotations

import logging
import mmap
import sys
import weakref
from importlib.util import find_spec
from pathlib import Path

from runtimes.cluster.engine import Engine
from runtimes.cluster.native.library import load
from runtimes.cluster.native_engine import EngineOptions, NativeEngine
from runtimes.cluster.shard import ShardFile
from runtimes.cluster.step import EngineRequest
from toolchain.errors import FitError, ToolError

RESERVE = 12 << 20  # bytes left for buffers of the network and for the interpreter
_NO_LIMIT = 1 << 60
_log = logging.getLogger("tessera.engine")


class EngineOpener:
    """Opens engines, and knows what those that are open occupy.

    Args:
        threads: of the kernels.
        kernels: instruction set, ``numpy`` for the engine without a compiler, empty for the best
            there is: without a compiler that is numpy, slower but right.
    """

    def __init__(self, *, threads: int = 1, kernels: str = "") -> None:
        self._threads = threads
        self._kernels = kernels
        self._fell_back = False
        self._native: weakref.WeakSet[NativeEngine] = weakref.WeakSet()

    def prepare(self) -> None:
        """Build the kernels, if that was not done before: no session waits for it then.

        Raises:
            ToolError: E601, E602 no compiler or it failed, and numpy is not installed either.
        """
        if self._kernels != "numpy":
            try:
                load(self._kernels)
            except ToolError as error:
                _require_numpy(error)

    def __call__(self, path: Path, request: EngineRequest) -> Engine:
        """Open the engine of a shard.

        Args:
            path: the shard.
            request: what the session asks. Its ``max_ram`` is of this engine and all that the
                process needs besides its engines.

        Raises:
            FitError: E312, the limit is too low.
            ModelError: E224, the shard is damaged.
            ToolError: E601, E602 no kernels, and numpy is not installed either.
            UsageError: E117 unknown kernels, E118 reproducible mode with quantised weights.
        """
        shard = ShardFile(path)
        try:
            if self._kernels == "numpy":
                return self._open_reference(shard, request)
            try:
                return self._open_native(shard, request)
            except ToolError as error:
                if self._kernels:
                    raise
                self._fall_back(error)
                return self._open_reference(shard, request)
        except BaseException:
            shard.close()
            raise

    def _open_native(self, shard: ShardFile, request: EngineRequest) -> Engine:
        limited, own = 0 < request.max_ram < _NO_LIMIT, self._own_bytes()
        options = EngineOptions(
            slots=request.slots,
            capacity=request.capacity or None,
            kv=request.kv,
            threads=self._threads,
            kernels=self._kernels,
            reproducible=request.reproducible,
            memory=request.max_ram - own if limited else None,
        )
        try:
            engine = NativeEngine(shard, options)
        except FitError as error:
            raise _too_small(error, own, request.max_ram) from None
        self._native.add(engine)
        return engine

    def _open_reference(self, shard: ShardFile, request: EngineRequest) -> Engine:
        from runtimes.cluster.reference import ReferenceEngine
        from runtimes.cluster.shard_weights import ShardWeights, bytes_in_use

        needed = bytes_in_use(shard.header, request.kv, request.capacity, request.slots)
        own = self._own_bytes()
        if 0 < request.max_ram < own + needed:
            error = FitError(
                "E312",
                f"computing in numpy needs {needed} bytes for weights and caches",
                numbers={"needed": needed},
            )
            raise _too_small(error, own, request.max_ram)
        return ReferenceEngine(
            ShardWeights(shard),
            slots=request.slots,
            capacity=request.capacity or None,
            reproducible=request.reproducible,
            kv=request.kv,
        )

    def _fall_back(self, error: ToolError) -> None:
        """Say once that this device computes without kernels."""
        _require_numpy(error)
        if not self._fell_back:
            _log.warning("computing in numpy, which is slower: %s", error.what)
        self._fell_back = True

    def _own_bytes(self) -> int:
        """Bytes of the process without its engines, and the reserve."""
        engines = sum(engine.memory_bytes for engine in self._native)
        return max(resident_set() - engines, 0) + RESERVE


def _too_small(error: FitError, own: int, granted: int) -> FitError:
    """Say what would be enough: the engine and the process around it."""
    needed = own + int(error.numbers["needed"])
    return FitError(
        "E312",
        f"{error.what}, and {own} for the process; {granted} are granted",
        numbers={"needed": needed, "available": granted},
        hints=[
            f"--max-ram {(needed >> 20) + 2}M on this device",
            "use more devices, or lower the context: --context TOKENS, --kv bfp7",
        ],
    )


def _require_numpy(error: ToolError) -> None:
    """Say what would help a device that has neither kernels nor numpy."""
    if find_spec("numpy") is None:
        raise ToolError(
            error.code,
            f"{error.what}, and numpy, which computes without one, is not installed",
            where=error.where,
            hints=[*error.hints, "pip install numpy   (slower)"],
        ) from error


def resident_set() -> int:
    """Return the bytes of memory this process occupies now (its peak so far if not on Linux)."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak
    return pages * mmap.PAGESIZE
