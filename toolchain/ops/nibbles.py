"""4-bit weights: two to a byte in files and in flash, unpacked by the kernels."""

from __future__ import annotations

import numpy as np

from toolchain.ir.tensor import Array, DType, Tensor

# Kernels of operators with int8 weights, and those with 4-bit weights.
NIBBLES = {
    "conv2d": "conv2d_w4",
    "depthwise_conv2d": "depthwise_conv2d_w4",
    "fully_connected": "fully_connected_w4",
}


def pack_nibbles(filters: Array) -> Array:
    """Return filters (N, K) of -8 to 7 as int8 (N, K / 2), the first of two in the low half."""
    even = np.pad(filters, ((0, 0), (0, filters.shape[1] % 2))).astype(np.uint8) & 0xF
    packed: Array = (even[:, 0::2] | even[:, 1::2] << 4).view(np.int8)
    return packed


def unpack_nibbles(packed: Array, depth: int) -> Array:
    """Return the filters (N, ``depth``) that were packed."""
    signed = packed.view(np.int8)
    low, high = (signed << 4).astype(np.int8) >> 4, signed >> 4
    return np.stack([low, high], -1).reshape(len(packed), -1)[:, :depth]


def scratch_of(weights: Tensor, count: int) -> int:
    """Return the bytes in which a portable kernel unpacks ``count`` weights, if they are packed."""
    return -(-count // 4) * 4 if weights.dtype is DType.INT4 else 0
