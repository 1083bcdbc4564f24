"""Golden inputs and outputs of a network, small enough to live in a firmware's test."""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt

from toolchain.ir.graph import Graph
from toolchain.ir.interpret import Session
from toolchain.ir.tensor import Array, DType, Tensor

_LARGE = 50_000_000  # multiply-accumulates above which one case is enough


def golden_sums(graph: Graph) -> list[list[int]]:
    """Return for each golden case the CRC-32 of every output, as the interpreter computes it.

    The cases are one sequence: states live on. Case ``i`` takes its inputs from a 32-bit xorshift
    generator that starts at ``i + 1`` (G. Marsaglia, "Xorshift RNGs", Journal of Statistical
    Software 8(14), 2003).
    """
    cases = 1 if graph.macs > _LARGE else 2
    session = Session(graph)
    return [[zlib.crc32(y.tobytes()) for y in _outputs(session, seed + 1)] for seed in range(cases)]


def _outputs(session: Session, state: int) -> list[Array]:
    inputs = []
    for tensor in session.graph.input_tensors:
        data, state = _bytes(state, _length(tensor))
        inputs.append(_values(tensor, data).reshape(tensor.shape))
    return session.run(inputs)


def _length(tensor: Tensor) -> int:
    return tensor.size if tensor.dtype is DType.FLOAT32 else tensor.nbytes


def _values(tensor: Tensor, data: npt.NDArray[np.uint8]) -> Array:
    if tensor.dtype is DType.FLOAT32:
        return data.view(np.int8).astype(np.float32) * np.float32(0.0625)
    if tensor.dtype is DType.BOOL:
        return (data & 1).astype(np.bool_)
    return data.view(tensor.dtype.numpy)


def _bytes(state: int, count: int) -> tuple[npt.NDArray[np.uint8], int]:
    made = bytearray()
    for _ in range(count):
        state ^= (state << 13) & 0xFFFF_FFFF
        state ^= state >> 17
        state ^= (state << 5) & 0xFFFF_FFFF
        made.append(state >> 24)
    return np.frombuffer(bytes(made), np.uint8), state
