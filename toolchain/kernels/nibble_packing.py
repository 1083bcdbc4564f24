"""Packing of 4-bit weights for the DSP kernels: a word serves four inputs and two filters.

From the top, the nibbles of a half-word are: the high filter's weight of an even input, the low
filter's, and both of the odd input behind it. AND with 0xF000F000, its second operand shifted left
by 0, 4, 8 or 12 bits, brings one pair of weights to the top of the 16-bit lanes, times 4096, in one
instruction. So the sums are 4096 times as large, and must stay below 2**19 in truth.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from toolchain.ir.tensor import Array
from toolchain.kernels.base import integer
from toolchain.kernels.output_stage import choose, filters_of
from toolchain.kernels.packing import Packed, folded, one_scale, reachable
from toolchain.numerics import Int64
from toolchain.ops.base import Number
from toolchain.ops.nibbles import unpack_nibbles

_BITS = 12
_REACH = 2 ** (31 - _BITS)


def unpacked(tables: Mapping[str, Array], depth: int) -> Int64:
    """Return the filters (N, ``depth``) of a node with 4-bit weights."""
    return unpack_nibbles(tables["weights"], depth).astype(np.int64)


def pack_pairs(
    filters: Int64,
    tables: Mapping[str, Array],
    numbers: Mapping[str, Number],
    *,
    common: bool = False,
) -> Packed | None:
    """Pack filters of shape (N, K), K a multiple of 4; ``None`` if sums could overflow.

    Args:
        filters: of -8 to 7, in the order in which the kernel reads its inputs, zeros where it reads
            padding.
        tables: ``bias``, ``multiplier`` and ``shift`` of the node.
        numbers: the node's zero points and output range.
        common: whether the kernel takes one scale for all filters where they have but one.
    """
    bias, low, high = reach = reachable(
        filters, tables["bias"].astype(np.int64), integer(numbers, "x_zero")
    )
    node = filters_of(numbers, tables["multiplier"], tables["shift"], reach)
    output = choose(node, common=common)
    start, far = folded(bias, low, high, output)
    if far.max() >= _REACH:
        return None
    live = _even(filters * ~output.constant[:, None])
    if common and output.common:
        sums = _even(start << _BITS)
        stage = one_scale(sums[0::2], sums[1::2], output)
        return Packed(_words(live), stage, output, nibbles=True, common=True)
    words = output.shared(start) if output.lean else start << _BITS
    biases, multiplier, extra = (_even(v) for v in (words, output.multiplier, output.extra))
    columns = [biases[0::2], biases[1::2], multiplier[0::2], multiplier[1::2]]
    if not output.lean:
        columns.append((extra[0::2] & 0xFFFF) | (extra[1::2] << 16))
    stage = np.stack(columns, 1).astype(np.uint32).view(np.int32)
    return Packed(_words(live), stage, output, nibbles=True)


def _even(values: Int64) -> Int64:
    """Append a zero filter where the number of filters is odd."""
    return np.pad(values, [(0, len(values) % 2)] + [(0, 0)] * (values.ndim - 1))


def _words(filters: Int64) -> Array:
    """Return int8 (pairs, K / 4, 4): of every four inputs, 0 and 1 lie in the lower half-word.

    SXTB16 widens inputs 0 and 2, then 1 and 3, so the nibbles of 1 stand below those of 0.
    """
    codes = (filters & 0xF).reshape(len(filters) // 2, 2, -1, 2, 2)  # pair, filter, word, half, odd
    high, low = codes[:, 0], codes[:, 1]
    halves = high[..., 0] << 12 | low[..., 0] << 8 | high[..., 1] << 4 | low[..., 1]
    return np.ascontiguousarray(halves.astype("<u2")).view(np.int8)
