"""How fast this machine reads memory and multiplies: the figures that plans are made from."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from dataclasses import dataclass

from runtimes.cluster.buffers import Buffer, Rows
from runtimes.cluster.memory import page_slab
from runtimes.cluster.native.library import RankStruct, load
from toolchain.cluster.split import Bits, matrix_bytes


@dataclass(frozen=True)
class KernelSpeed:
    """One shape of matrix-vector product, timed.

    Attributes:
        bits: of a weight.
        rows: of the matrix.
        columns: of the matrix.
        seconds: least time of one product.
        bytes: of the matrix.
    """

    bits: Bits
    rows: int
    columns: int
    seconds: float
    bytes: int

    @property
    def bandwidth(self) -> float:
        """Bytes of weights per second."""
        return self.bytes / self.seconds


def stream_bandwidth(megabytes: int = 256, *, rounds: int = 5, kernels: str = "") -> float:
    """Measure bytes per second that one thread reads from memory, best of some rounds.

    Args:
        megabytes: to read; more than the caches hold.
        rounds: how often.
        kernels: instruction set, the best by default.

    Raises:
        ToolError: E601, E602 no compiler, or it failed.
    """
    library = load(kernels)
    data = _filled(megabytes << 20)
    best = min(_seconds(library.tessera_stream, data.address, len(data)) for _ in range(rounds))
    return len(data) / best


def kernel_speed(
    bits: Bits,
    rows: int,
    columns: int,
    *,
    megabytes: int = 256,
    rounds: int = 5,
    kernels: str = "",
) -> KernelSpeed:
    """Time matrix-vector products on one thread, with weights that are in no cache.

    Args:
        bits: of a weight.
        rows: of the matrix.
        columns: of the matrix.
        megabytes: of distinct matrices that are multiplied in turn.
        rounds: how often over all of them; the best round counts.
        kernels: instruction set, the best by default.

    Raises:
        ToolError: E601, E602 no compiler, or it failed.
    """
    library = load(kernels)
    size = matrix_bytes(rows, columns, bits)
    count = max(1, (megabytes << 20) // size)
    weights = _filled(count * size)
    rank = RankStruct(hidden=columns, bits=bits, batch=1)
    scratch = Buffer.zeros(library.tessera_scratch_bytes(ctypes.byref(rank)))
    rank.scratch = scratch.address
    x, out = Rows.empty(1, columns), Rows.empty(1, rows)

    def multiply_all() -> None:
        for at in range(count):
            library.tessera_matmul(
                *(ctypes.byref(rank), weights.address + at * size, rows, columns),
                *(x.address, 1, out.address),
            )

    seconds = min(_seconds(multiply_all) for _ in range(rounds)) / count
    return KernelSpeed(bits, rows, columns, seconds, size)


def _filled(size: int) -> Buffer:
    """Memory whose pages are all there, in huge ones where the system has them."""
    memory = page_slab(size)
    ctypes.memset(memory.address, 0x11, size)
    return memory.part(0, size)


def _seconds(function: Callable[..., object], *arguments: object) -> float:
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start
