"""Packing of weights for the DSP kernels: pairs of filters share a lane.

A 16-bit lane holds ``256 * high + low`` of two filters, so one multiplication serves both: the sum
of products with the lane is ``256 * acc_high + acc_low``, and a second sum with the low filter
alone (sign-extended out of the same word) tells them apart. The weights take no more bytes than
before. Lanes stand in the order in which SXTB16 widens four inputs: 0, 2, 1, 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from toolchain.ir.tensor import Array
from toolchain.kernels.base import integer
from toolchain.kernels.output_stage import Mode, OutputStage, choose, filters_of
from toolchain.numerics import Int64
from toolchain.ops.base import Number

_ORDER = (0, 2, 1, 3)
HIGH_REACH = 2**23  # 256 * acc must fit a word


@dataclass(frozen=True, eq=False)
class Packed:
    """Filters as the DSP matrix kernels read them.

    With ``nibbles`` weights have 4 bits, shape (pairs, K / 2); sums and biases are 4096 times as
    large (`toolchain.kernels.nibble_packing`).

    Attributes:
        weights: int8, shape (pairs, K, 2), in words.
        stage: int32, shape (pairs, 5), of ``lean`` (pairs, 4), of a common scale (1 + pairs, 2).
        output: the formula of the output stage.
        nibbles: whether weights have 4 bits.
        common: whether multiplier and extra are those of all filters: the first row of ``stage``.
    """

    weights: Array
    stage: Array
    output: OutputStage
    nibbles: bool = False
    common: bool = False

    @property
    def numbers(self) -> dict[str, Number]:
        """Return the literals of the templates that multiply with these filters."""
        literals = {"nibbles": self.nibbles, "common": self.common, **self.output.shared_numbers}
        if self.common and self.output.lean:
            literals["mode"] = Mode.LINEAR.value  # the extra stands apart from the biases
        return literals


@dataclass(frozen=True, eq=False)
class Alone:
    """Filters that are read one by one.

    Attributes:
        tables: ``weights``, int8 as they came; ``stage``, int32 of shape (N, 2), bias and
            multiplier; but for ``lean``, ``extra``, int16 of shape (N,). With ``common`` ``stage``
            has shape (2 + N,): multiplier and extra of all filters, then the biases.
        output: the formula of the output stage.
        common: whether all filters have one scale.
    """

    tables: Mapping[str, Array]
    output: OutputStage
    common: bool = False

    def numbers(self, *, shared: bool) -> dict[str, Number]:
        """Return the literals of the output stage; ``shared`` by layers of several zero points."""
        numbers = self.output.shared_numbers if shared else self.output.numbers
        literals = {**numbers, "common": self.common}
        if self.common and self.output.lean:
            literals["mode"] = Mode.LINEAR.value  # the extra stands apart from the biases
        return literals


def reachable(filters: Int64, bias: Int64, x_zero: int) -> tuple[Int64, Int64, Int64]:
    """Return the bias with the input's zero point folded in, and the accumulators' bounds.

    Args:
        filters: shape (N, K), int8 values.
        bias: shape (N,).
        x_zero: zero point of the int8 input.
    """
    centre = bias - x_zero * filters.sum(1)
    positive, negative = np.maximum(filters, 0).sum(1), np.minimum(filters, 0).sum(1)
    low, high = -128 * positive + 127 * negative, 127 * positive - 128 * negative
    return centre, centre + low, centre + high


def pack(
    filters: Int64,
    tables: Mapping[str, Array],
    numbers: Mapping[str, Number],
    *,
    common: bool = False,
) -> Packed | None:
    """Pack filters of shape (N, K), K a multiple of 4; ``None`` if their values do not allow it.

    Args:
        filters: in the order in which the kernel reads its inputs, zeros where it reads padding.
        tables: ``bias``, ``multiplier`` and ``shift`` of the node.
        numbers: the node's zero points and output range.
        common: whether the kernel takes one scale for all filters where they have but one.
    """
    bias, low, high = reach = reachable(
        filters, tables["bias"].astype(np.int64), integer(numbers, "x_zero")
    )
    node = filters_of(numbers, tables["multiplier"], tables["shift"], reach)
    output = choose(node, common=common)
    live = filters * ~output.constant[:, None]
    start, far = folded(bias, low, high, output)
    if far[0::2].max() >= HIGH_REACH or far.max() >= 2**31:
        return None
    weights = lanes(_even(live))
    if weights is None:
        return None
    if common and output.common:
        sums = _even(start)
        both = 256 * sums[0::2] + sums[1::2]
        return Packed(weights, one_scale(both, sums[1::2], output), output, common=True)
    return Packed(weights, _stage(start, output), output)


def alone(
    filters: Int64,
    tables: Mapping[str, Array],
    numbers: Mapping[str, Number],
    *,
    common: bool = False,
) -> Alone | None:
    """Prepare filters of shape (N, K) to be read one by one; ``None`` if sums could overflow.

    Args:
        filters: in the order in which the kernel reads its inputs.
        tables: ``bias``, ``multiplier`` and ``shift`` of the node.
        numbers: the node's zero points, of the weights too, and output range.
        common: whether the kernel takes one scale for all filters where they have but one.
    """
    zero = integer(numbers, "w_zero")
    bias, low, high = reach = reachable(
        filters - zero, tables["bias"].astype(np.int64), integer(numbers, "x_zero")
    )
    node = filters_of(numbers, tables["multiplier"], tables["shift"], reach)
    output = choose(node, common=common)
    start, far = folded(bias, low, high, output)
    # What is taken off for zero points, and for weights stored without a sign, is summed apart.
    apart = filters.shape[1] << 15
    if far.max() + apart >= 2**31:
        return None
    live = np.where(output.constant[:, None], zero, filters).astype(np.int8)
    if common and output.common:
        scale = output.multiplier[:1], output.extra[:1]
        stage = np.concatenate([*scale, start]).astype(np.int32)
        return Alone({"weights": live, "stage": stage}, output, common=True)
    if output.lean:
        start = output.shared(start)
    stage = np.stack([start, output.multiplier], 1).astype(np.int32)
    extra = {} if output.lean else {"extra": output.extra.astype(np.int16)}
    return Alone({"weights": live, "stage": stage, **extra}, output)


def folded(bias: Int64, low: Int64, high: Int64, output: OutputStage) -> tuple[Int64, Int64]:
    """Return the biases that the kernel starts from, and how far from 0 accumulators may lie.

    Args:
        bias: biases with the input's zero point folded in, as `reachable` returns them.
        low: least accumulators.
        high: greatest accumulators.
        output: the formula, which adds its own biases.
    """
    start = np.where(output.constant, 0, bias) + output.bias
    ends = np.abs(np.stack([low, high]) + output.bias).max(0)
    return start, np.maximum(np.where(output.constant, 0, ends), np.abs(start))


def _even(values: Int64) -> Int64:
    """Append a zero filter where the number of filters is odd."""
    width = [(0, len(values) % 2)] + [(0, 0)] * (values.ndim - 1)
    return np.pad(values, width)


def lanes(filters: Int64) -> Array | None:
    """Return an even number of filters (N, K) as pairs in lanes, ``None`` if one does not fit."""
    pairs = 256 * filters[0::2] + filters[1::2]
    if pairs.min(initial=0) < -(2**15) or pairs.max(initial=0) >= 2**15:
        return None
    groups = pairs.reshape(len(pairs), -1, 4)[:, :, _ORDER]
    return np.ascontiguousarray(groups).astype("<i2").view(np.int8)


def _stage(start: Int64, output: OutputStage) -> Array:
    bias, multiplier, extra = (_even(v) for v in (start, output.multiplier, output.extra))
    multipliers = multiplier[0::2], multiplier[1::2]
    if output.lean:
        words = _even(output.shared(start))
        return _words(words[0::2], words[1::2], *multipliers)
    both = (extra[0::2] & 0xFFFF) | (extra[1::2] << 16)
    return _words(256 * bias[0::2] + bias[1::2], bias[1::2], *multipliers, both)


def one_scale(first: Int64, second: Int64, output: OutputStage) -> Array:
    """Return the stage of filters of one scale, int32 of shape (1 + pairs, 2).

    Args:
        first: shape (pairs,), what the first sum of a pair starts from.
        second: the same of the second sum.
        output: the formula.
    """
    scale = output.multiplier[:1], output.extra[:1]
    return np.concatenate([_words(*scale), _words(first, second)])


def _words(*columns: Int64) -> Array:
    return np.stack(columns, 1).astype(np.uint32).view(np.int32)
