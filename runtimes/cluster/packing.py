"""Quantises weights with the kernels where there is a compiler, else with their definition."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from runtimes.cluster.arrays import F32, Bytes
from runtimes.cluster.native.library import load
from runtimes.cluster.tiles import pack
from toolchain.cluster.split import Bits, matrix_bytes
from toolchain.errors import ToolError

Packer: TypeAlias = Callable[[F32, Bits], Bytes]


def best_packer() -> Packer:
    """Return `tiles.pack`, or the C function that gives the same bytes eight times as fast."""
    try:
        library = load()
    except ToolError:
        return pack

    def packer(matrix: F32, bits: Bits) -> Bytes:
        if bits == 32:
            return pack(matrix, bits)
        rows, columns = matrix.shape
        whole = np.ascontiguousarray(matrix, np.float32)
        out = np.empty(matrix_bytes(rows, columns, bits), np.uint8)
        library.tessera_pack(whole.ctypes.data, rows, columns, bits, out.ctypes.data)
        return out

    return packer
