"""Integers for weights and biases."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from toolchain.ir import Array, DType, Quant
from toolchain.quantization.precision import Precision

_SHRINKS = np.linspace(1.0, 0.7, 31)
_CACHED = 2**15  # elements

Floats = npt.NDArray[np.float64]


def weight_quant(weights: Array, axis: int, least: Floats, dtype: DType = DType.INT8) -> Quant:
    """Return a symmetric scale per channel with the least squared error.

    Args:
        weights: float values.
        axis: of the output channels.
        least: scales that must not be undercut (so that biases fit), shape (channels,).
        dtype: of the integers.
    """
    rows = np.moveaxis(weights, axis, 0).reshape(weights.shape[axis], -1)
    # A few rows at a time: large matrices would leave the cache, and memory, in double precision.
    step = max(1, _CACHED // rows.shape[1])
    levels = greatest(dtype)
    parts = (rows[i : i + step].astype(np.float64) for i in range(0, len(rows), step))
    best = [_best(part, levels) for part in parts]
    scales = np.maximum(np.concatenate(best), least).astype(np.float32)
    return Quant(tuple(float(s) for s in scales), (0,) * len(scales), axis)


def greatest(dtype: DType) -> int:
    """Return the greatest integer around zero: as many levels below as above."""
    return dtype.limits[1]


def _best(rows: Floats, levels: int) -> Floats:
    """Return the scale of every row of weights."""
    widest = np.abs(rows).max(axis=1) / levels
    widest = np.where(widest > np.finfo(np.float32).tiny, widest, 1.0 / levels)
    candidates = np.stack([widest * shrink for shrink in _SHRINKS])
    errors = np.stack([_error(rows, scale, levels) for scale in candidates])
    best: Floats = candidates[errors.argmin(axis=0), np.arange(len(widest))]
    return best


def _error(rows: Floats, scale: Floats, levels: int) -> Floats:
    steps = rows / scale[:, None]
    codes = np.rint(steps)
    np.clip(codes, -levels, levels, out=codes)
    codes *= scale[:, None]
    codes -= rows
    errors: Floats = np.square(codes, out=codes).sum(axis=1)
    return errors


def least_scales(bias: Floats, x: Quant, y: Quant, precision: Precision) -> Floats:
    """Return the least weight scales that a layer may have, shape (channels,).

    Args:
        bias: float values.
        x: quantisation of the input, in the precision that the layer computes in.
        y: quantisation of the output, likewise.
        precision: which bounds the steps of biases and of products.
    """
    scales: Floats = np.abs(bias) / (precision.largest_bias * x.scale)
    return np.maximum(scales, precision.least_ratio * y.scale / x.scale)


def integers(values: Array, quant: Quant, dtype: DType = DType.INT8) -> Array:
    """Return codes, half to even; those around zero are symmetric."""
    shape = [1] * values.ndim
    if quant.axis is not None:
        shape[quant.axis] = -1
    scale = np.array(quant.scales, np.float64).reshape(shape)
    zero = np.array(quant.zero_points).reshape(shape)
    low, high = dtype.limits
    low = low if any(quant.zero_points) else -high
    codes = np.rint(values.astype(np.float64) / scale) + zero
    return np.asarray(np.clip(codes, low, high), dtype.numpy)
