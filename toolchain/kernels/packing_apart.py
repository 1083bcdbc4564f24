"""Packing of weights that take all of a byte, for the DSP extension: a word per filter and step.

Weights with a zero point reach from -128 to 127, and two of them do not always fit a lane. The zero
point is left to the kernel, which takes the sum of the inputs as often off every sum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from toolchain.ir.tensor import Array
from toolchain.kernels.base import integer
from toolchain.kernels.packing import Packed, alone
from toolchain.numerics import Int64
from toolchain.ops.base import Number


def pack_apart(
    filters: Int64,
    tables: Mapping[str, Array],
    numbers: Mapping[str, Number],
    arrange: Callable[[Int64], Int64],
) -> Packed | None:
    """Pack filters of shape (N, K) in pairs; ``None`` if sums could overflow.

    Args:
        filters: int8 values.
        tables: ``bias``, ``multiplier`` and ``shift`` of the node.
        numbers: the node's zero points, of the weights too, and output range.
        arrange: brings filters into the order in which inputs are read, K a multiple of 4.

    Returns:
        ``weights`` as (pairs, K / 4, 2, 4) and ``stage`` as (pairs, 5), of ``lean`` (pairs, 4):
        biases, multipliers and 16-bit extras of both filters.
    """
    found = alone(filters, tables, numbers)
    if found is None:
        return None
    weights = _even(arrange(found.tables["weights"].astype(np.int64)))
    words = weights.reshape(len(weights) // 2, 2, -1, 4).transpose(0, 2, 1, 3)
    stage = _even(found.tables["stage"].astype(np.int64))
    columns = [stage[0::2, 0], stage[1::2, 0], stage[0::2, 1], stage[1::2, 1]]
    if "extra" in found.tables:
        extra = _even(found.tables["extra"].astype(np.int64))
        columns.append((extra[0::2] & 0xFFFF) | (extra[1::2] << 16))
    packed = np.stack(columns, 1).astype(np.uint32).view(np.int32)
    return Packed(np.ascontiguousarray(words, np.int8), packed, found.output)


def _even(values: Int64) -> Int64:
    """Append a zero filter where the number of filters is odd."""
    width = [(0, len(values) % 2)] + [(0, 0)] * (values.ndim - 1)
    return np.pad(values, width)


def zeros(odd_zero: int, numbers: Mapping[str, Number]) -> int:
    """Return what `matmul_apart_dsp` takes: weights' zero point above 16 bits of ``odd_zero``."""
    return integer(numbers, "w_zero") << 16 | odd_zero & 0xFFFF
