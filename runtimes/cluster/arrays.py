"""`runtimes.cluster.buffers` as numpy arrays and back, without a copy."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from runtimes.cluster.buffers import Buffer, Rows

F32: TypeAlias = npt.NDArray[np.float32]
IntArray: TypeAlias = npt.NDArray[np.integer]
Partial: TypeAlias = npt.NDArray[np.float32] | npt.NDArray[np.int64]
Bytes: TypeAlias = npt.NDArray[np.uint8]


def array_of(rows: Rows) -> npt.NDArray[Any]:
    """Look at rows as an array (count, columns) of float32 or int64."""
    numbers = np.frombuffer(rows.memory.view, "<i8" if rows.fixed else "<f4")
    return numbers.reshape(rows.count, rows.columns)


def bytes_of(memory: Buffer) -> Bytes:
    """Look at a piece of memory as an array of bytes."""
    return np.frombuffer(memory.view, np.uint8)


def rows_of(array: Partial) -> Rows:
    """Look at a matrix of float32 or int64 as rows; copied only if it is not in one piece."""
    fixed = array.dtype == np.int64
    whole = np.ascontiguousarray(array, np.int64 if fixed else np.float32)
    memory = Buffer(whole.ctypes.data, whole.reshape(-1).view(np.uint8).data)
    count, columns = whole.shape
    return Rows(memory, count, columns, fixed)
