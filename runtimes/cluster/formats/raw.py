"""Stored number types: how many bytes a row has, and what float32 values bytes stand for.

Q4_0 and Q8_0 are ggml's (``ggml-common.h``): blocks of 32 values with one fp16 scale; Q4_0 keeps
values 0..15 with zero point 8, value i in the low nibble of byte i, value i + 16 in the high one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from runtimes.cluster.arrays import F32
from toolchain.errors import ModelError

# type -> (values of a block, its bytes)
_BLOCKS = {"F32": (1, 4), "F16": (1, 2), "BF16": (1, 2), "Q4_0": (32, 18), "Q8_0": (32, 34)}


def row_bytes(kind: str, values: int) -> int:
    """Bytes of a row.

    Raises:
        ModelError: E221 the type is not supported, E222 the row is no whole number of blocks.
    """
    if kind not in _BLOCKS:
        raise ModelError(
            "E221",
            f"weights of {kind} are not supported",
            hints=[f"supported: {', '.join(_BLOCKS)}"],
        )
    block, size = _BLOCKS[kind]
    if values % block:
        raise ModelError("E222", f"a row of {values} values cannot be {kind}")
    return values // block * size


def decode(raw: npt.NDArray[np.uint8], kind: str) -> F32:
    """Turn stored bytes into float32 values."""
    if kind == "F32":
        return raw.view("<f4").astype(np.float32)
    if kind == "F16":
        return raw.view("<f2").astype(np.float32)
    if kind == "BF16":
        return (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)
    blocks = raw.reshape(-1, _BLOCKS[kind][1])
    scales = np.ascontiguousarray(blocks[:, :2]).view("<f2").astype(np.float32)
    if kind == "Q8_0":
        values = blocks[:, 2:].view(np.int8).astype(np.float32)
    else:
        nibbles = np.concatenate([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], axis=1)
        values = nibbles.astype(np.float32) - np.float32(8)
    return (values * scales).reshape(-1)
