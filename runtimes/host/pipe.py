"""Cases and outputs as the bytes that a batch program reads and writes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolchain.ir.tensor import Array, Tensor


def join_cases(inputs: Sequence[Tensor], cases: Sequence[Sequence[Array]]) -> bytes:
    """Return the inputs of all cases, one behind the other."""
    return b"".join(
        np.ascontiguousarray(value, dtype=tensor.dtype.numpy).tobytes()
        for case in cases
        for tensor, value in zip(inputs, case, strict=True)
    )


def split_outputs(outputs: Sequence[Tensor], data: bytes, count: int) -> list[list[Array]]:
    """Return the outputs of ``count`` cases from what the program wrote."""
    results, at = [], 0
    for _ in range(count):
        found = []
        for tensor in outputs:
            part = np.frombuffer(data, tensor.dtype.numpy, tensor.size, at)
            found.append(part.reshape(tensor.shape))
            at += tensor.nbytes
        results.append(found)
    return results
