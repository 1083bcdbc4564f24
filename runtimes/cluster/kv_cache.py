"""Key/value caches in numpy: what the kernels store, byte for byte.

A row is one head's key or value of one position. Block floating point (Drumond et al. 2018, arXiv
1804.01526) splits it into blocks of 16 channels with one exponent: the row is a byte of exponent
per block, then the mantissas as one stream of bits, two's complement, lowest bit first. The byte is
that of the float32 which is the value of a mantissa's last bit, 0 if the block is all zeros.
"""

from __future__ import annotations

from typing import Protocol, TypeAlias

import numpy as np

from runtimes.cluster.arrays import F32, Bytes
from toolchain.cluster.split import KV_BLOCK, KvKind, mantissa_bits

Place: TypeAlias = tuple[int | slice, ...]


class RowStore(Protocol):
    """Rows of ``dim`` numbers at places of an array of the shape ``places``."""

    def __init__(self, places: tuple[int, ...], dim: int) -> None: ...

    def __setitem__(self, place: Place, rows: F32) -> None:
        """Store (..., dim) float32."""

    def __getitem__(self, place: Place) -> F32:
        """Load (..., dim) float32."""


def row_store(kind: KvKind, places: tuple[int, ...], dim: int) -> RowStore:
    """Make an empty cache.

    Args:
        kind: how rows are stored.
        places: slots, layers, heads, positions ...
        dim: channels of a head.
    """
    if bits := mantissa_bits(kind):
        return BlockRows(places, dim, bits)
    return Int8Rows(places, dim) if kind == "int8" else FloatRows(places, dim, kind)


class FloatRows:
    """Rows of float32 or float16."""

    def __init__(self, places: tuple[int, ...], dim: int, kind: KvKind) -> None:
        self._rows = np.zeros((*places, dim), np.float32 if kind == "f32" else np.float16)

    def __setitem__(self, place: Place, rows: F32) -> None:
        with np.errstate(over="ignore"):  # beyond the range of fp16: infinity, as the cast says
            self._rows[place] = rows

    def __getitem__(self, place: Place) -> F32:
        return np.asarray(self._rows[place], np.float32)


class Int8Rows:
    """Rows of int8 with one fp16 scale: largest magnitude / 127, rounded to nearest."""

    def __init__(self, places: tuple[int, ...], dim: int) -> None:
        self._values = np.zeros((*places, dim), np.int8)
        self._scales = np.zeros((*places, 1), np.float16)

    def __setitem__(self, place: Place, rows: F32) -> None:
        with np.errstate(over="ignore", divide="ignore"):
            scales = (np.abs(rows).max(-1, keepdims=True) / np.float32(127)).astype(np.float16)
            inverse = np.float32(1) / scales.astype(np.float32)
        inverse[scales == 0] = 0
        self._scales[place] = scales
        self._values[place] = np.rint(np.clip(rows * inverse, -127, 127))

    def __getitem__(self, place: Place) -> F32:
        scales = self._scales[place].astype(np.float32)
        return np.asarray(self._values[place] * scales, np.float32)


class BlockRows:
    """Rows in block floating point with mantissas of 4 to 8 bits."""

    def __init__(self, places: tuple[int, ...], dim: int, bits: int) -> None:
        self._dim, self._bits = dim, bits
        size = -(-dim // KV_BLOCK) + -(-dim * bits // 8)
        self._rows = np.zeros((*places, size), np.uint8)

    def __setitem__(self, place: Place, rows: F32) -> None:
        self._rows[place] = encode_blocks(rows, self._bits)

    def __getitem__(self, place: Place) -> F32:
        return decode_blocks(self._rows[place], self._dim, self._bits)


def encode_blocks(rows: F32, bits: int) -> Bytes:
    """Round rows to block floating point: (..., dim) float32 to (..., bytes of a row)."""
    *outer, dim = rows.shape
    blocks = -(-dim // KV_BLOCK)
    padded = np.zeros((*outer, blocks * KV_BLOCK), np.float32)
    padded[..., :dim] = rows
    padded = padded.reshape(*outer, blocks, KV_BLOCK)
    largest = np.abs(padded).max(-1).view(np.uint32) >> 23  # biased exponent
    exponents = np.maximum(largest.astype(np.int32) + 2 - bits, 0)  # of a mantissa's last bit
    factors = np.where(exponents > 0, (254 - exponents) << 23, 0).astype(np.uint32)
    end = 1 << (bits - 1)
    steps = np.rint(padded * factors.view(np.float32)[..., None])
    values = np.clip(steps, -end, end - 1).astype(np.int16).reshape(*outer, -1)[..., :dim]
    stream = (values[..., None] >> np.arange(bits)) & 1
    mantissas = np.packbits(
        stream.astype(np.uint8).reshape(*outer, dim * bits), axis=-1, bitorder="little"
    )
    return np.concatenate([exponents.astype(np.uint8), mantissas], axis=-1)


def decode_blocks(packed: Bytes, dim: int, bits: int) -> F32:
    """Read what `encode_blocks` wrote: (..., bytes of a row) to (..., dim) float32."""
    *outer, _ = packed.shape
    blocks = -(-dim // KV_BLOCK)
    scales = (packed[..., :blocks].astype(np.uint32) << 23).view(np.float32)
    stream = np.unpackbits(packed[..., blocks:], axis=-1, count=dim * bits, bitorder="little")
    weights = 1 << np.arange(bits)
    weights[-1] *= -1  # two's complement
    values = stream.reshape(*outer, dim, bits) @ weights
    return (values * scales.repeat(KV_BLOCK, -1)[..., :dim]).astype(np.float32)
