"""Weights in kernel tiles: the definition in numpy that the kernels in C must equal.

A tile is 16 rows by 32 columns. Weights are rounded per row and group of 32 columns: 4-bit values
0..15 with zero point 8, or 8-bit values -127..127 stored plus 128, each with one fp16 scale; or
they stay float32. ``native/tiles.h`` shows the order of the bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from runtimes.cluster.arrays import F32, Bytes
from runtimes.cluster.engine import FIXED_POINT
from toolchain.cluster.split import TILE_BYTES, TILE_COLUMNS, TILE_ROWS, Bits, matrix_bytes

Real: TypeAlias = npt.NDArray[np.int32] | F32
_HALF_MAX = 65504.0
# Scales tried per group, as the value that the largest weight is rounded to. The first is exact
# for weights that were 4-bit before (Q4_0); others shift the grid for less error.
_TARGETS_4 = (-8.0, -8.5, -7.5, 7.5)


def pack(matrix: F32, bits: Bits) -> Bytes:
    """Quantise a matrix and lay it out in tiles.

    Args:
        matrix: (rows, columns) float32, finite.
        bits: 4, 8 or 32.

    Returns:
        ``matrix_bytes(rows, columns, bits)`` bytes; padding is zero weights.
    """
    rows, columns = matrix.shape
    grid = (-(-rows // TILE_ROWS), -(-columns // TILE_COLUMNS))
    padded = np.zeros((grid[0] * TILE_ROWS, grid[1] * TILE_COLUMNS), np.float32)
    padded[:rows, :columns] = matrix
    # (tile rows, tile columns, 16, 32)
    tiles = padded.reshape(grid[0], TILE_ROWS, grid[1], TILE_COLUMNS).swapaxes(1, 2)
    if bits == 32:
        return np.ascontiguousarray(tiles.swapaxes(2, 3)).reshape(-1).view(np.uint8)
    scales, values = _round4(tiles) if bits == 4 else _round8(tiles)
    out = np.empty((*grid, TILE_BYTES[bits]), np.uint8)
    out[..., :32] = np.ascontiguousarray(scales).view(np.uint8)
    body = _nibbles(values) if bits == 4 else _bytes(values)
    out[..., 32:] = body.reshape(*grid, TILE_BYTES[bits] - 32)
    return out.reshape(-1)


def unpack(tiles: Bytes, rows: int, columns: int, bits: Bits) -> F32:
    """Return the (rows, columns) float32 matrix that tiles stand for."""
    scales, values = integers(tiles, rows, columns, bits)
    full = scales[..., None] * values.astype(np.float32)  # exact: 11 bits times 8
    grid = full.shape
    return full.swapaxes(1, 2).reshape(grid[0] * 16, grid[1] * 32)[:rows, :columns]


def integers(
    tiles: Bytes, rows: int, columns: int, bits: Bits
) -> tuple[F32, npt.NDArray[np.int32] | F32]:
    """Return scales (tile rows, tile columns, 16) and values (..., 16, 32) of tiles."""
    grid = (-(-rows // TILE_ROWS), -(-columns // TILE_COLUMNS))
    cut = tiles[: matrix_bytes(rows, columns, bits)].reshape(*grid, TILE_BYTES[bits])
    if bits == 32:
        plain = np.ascontiguousarray(cut).view(np.float32).reshape(*grid, 32, 16).swapaxes(2, 3)
        return np.ones((*grid, TILE_ROWS), np.float32), plain
    scales = np.ascontiguousarray(cut[..., :32]).view(np.float16).astype(np.float32)
    body = cut[..., 32:]
    if bits == 8:
        values = body.reshape(*grid, 8, 16, 4).swapaxes(2, 3).reshape(*grid, 16, 32)
        return scales, values.astype(np.int32) - 128
    pairs = body.reshape(*grid, 4, 16, 4).swapaxes(2, 3)  # (..., row, vector, byte)
    values = np.stack([pairs & 15, pairs >> 4], axis=-2).reshape(*grid, 16, 32)
    return scales, values.astype(np.int32) - 8


def quantize_columns(x: F32) -> tuple[F32, npt.NDArray[np.int32]]:
    """Round activations per group of 32: scales (n, groups), values (n, groups, 32)."""
    n, columns = x.shape
    padded = np.zeros((n, -(-columns // TILE_COLUMNS) * TILE_COLUMNS), np.float32)
    padded[:, :columns] = x
    groups = padded.reshape(n, -1, TILE_COLUMNS)
    largest = np.abs(groups).max(2)
    used = largest > 1e-30
    inverse = np.divide(np.float32(127), largest, out=np.zeros_like(largest), where=used)
    values = np.rint(groups * inverse[..., None]).astype(np.int32)
    return largest / np.float32(127), values


def product(tiles: Bytes, rows: int, columns: int, bits: Bits, x: F32) -> F32:
    """Multiply as the kernels do, bit for bit: (n, columns) activations to (n, rows).

    Per row and group: an exact integer product, one rounded product of the two scales, one fused
    multiply-add; groups in order. float32 tiles: one fused multiply-add per column.
    """
    weight_scales, weights = integers(tiles, rows, columns, bits)
    if bits == 32:
        flat = weights.swapaxes(1, 2).reshape(weights.shape[0] * 16, -1)[:rows, :columns]
        terms = ((flat[:, i], x[:, i, None]) for i in range(columns))
        return _fused(terms, len(x), rows)
    scales, values = quantize_columns(x)
    dots = np.einsum("agrc,ngc->gnar", weights, values).reshape(values.shape[1], len(x), -1)
    factors = weight_scales.swapaxes(0, 1).reshape(values.shape[1], 1, -1)
    terms = ((dots[g], factors[g] * scales[:, g, None]) for g in range(values.shape[1]))
    return _fused(terms, len(x), dots.shape[2])[:, :rows]


def fixed_point(values: F32) -> npt.NDArray[np.int64]:
    """Round float32 to int64 in units of 2^-24."""
    return np.rint(values.astype(np.float64) * FIXED_POINT).astype(np.int64)


def _fused(terms: Iterable[tuple[Real, Real]], n: int, rows: int) -> F32:
    """Sum products with one rounding each: exact in float64 but for its own rounding."""
    total = np.zeros((n, rows), np.float32)
    for a, b in terms:
        total = (total + np.asarray(a, np.float64) * b).astype(np.float32)
    return total


def _round4(tiles: F32) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.uint8]]:
    """Best of a few fp16 scales per row and group, and values 0..15."""
    index = np.abs(tiles).argmax(-1, keepdims=True)
    extreme = np.take_along_axis(tiles, index, -1)[..., 0]
    best_error = np.full(extreme.shape, np.inf, np.float32)
    best_scale = np.zeros(extreme.shape, np.float16)
    best_values = np.full(tiles.shape, 8, np.uint8)
    for target in _TARGETS_4:
        scale = _half(extreme / np.float32(target))
        values = np.clip(np.rint(tiles * _inverse(scale)[..., None]), -8, 7)
        error = _tree_sum(np.square(values * scale.astype(np.float32)[..., None] - tiles))
        better = error < best_error
        best_error = np.where(better, error, best_error)
        best_scale = np.where(better, scale, best_scale)
        best_values = np.where(better[..., None], (values + 8).astype(np.uint8), best_values)
    return best_scale, best_values


def _tree_sum(values: F32) -> F32:
    """Add the last axis by halves: an order that vector code can follow exactly."""
    while values.shape[-1] > 1:
        half = values.shape[-1] // 2
        values = values[..., :half] + values[..., half:]
    return values[..., 0]


def _round8(tiles: F32) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.uint8]]:
    scale = _half(np.abs(tiles).max(-1) / np.float32(127))
    values = np.clip(np.rint(tiles * _inverse(scale)[..., None]), -127, 127)
    return scale, (values + 128).astype(np.uint8)


def _half(scale: F32) -> npt.NDArray[np.float16]:
    return np.clip(scale, -_HALF_MAX, _HALF_MAX).astype(np.float16)


def _inverse(scale: npt.NDArray[np.float16]) -> F32:
    wide = scale.astype(np.float32)
    return np.divide(np.float32(1), wide, out=np.zeros_like(wide), where=wide != 0)


def _nibbles(values: npt.NDArray[np.uint8]) -> Bytes:
    """(..., 16, 32) to bytes (..., vector 4, row 16, 4): columns 8j+i low, 8j+4+i high."""
    split = values.reshape(*values.shape[:-1], 4, 2, 4)
    pairs = split[..., 0, :] | split[..., 1, :] << 4
    return np.ascontiguousarray(pairs.swapaxes(2, 3))


def _bytes(values: npt.NDArray[np.uint8]) -> Bytes:
    """(..., 16, 32) to bytes (..., vector 8, row 16, 4)."""
    return np.ascontiguousarray(values.reshape(*values.shape[:-1], 8, 4).swapaxes(2, 3))
