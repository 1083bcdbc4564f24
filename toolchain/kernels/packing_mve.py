"""Packing of weights and output stages for the vector extension: groups of four filters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from toolchain.ir.tensor import Array
from toolchain.kernels.base import Helper, integer
from toolchain.kernels.output_stage import Mode, OutputStage, choose, filters_of
from toolchain.kernels.packing import folded, reachable
from toolchain.numerics import Int64
from toolchain.ops.base import Number

GROUP = 4
_STEP = 16  # bytes of a vector


@dataclass(frozen=True, eq=False)
class Constants:
    """What a node's filters multiply and add, in the filters' own order.

    Attributes:
        filters: int8 values of shape (N, K), 0 where a filter's output is constant.
        bias: shape (N,), what sums start from, the input's zero point and the output stage folded
            in.
        output: the formula of the output stage.
    """

    filters: Int64
    bias: Int64
    output: OutputStage

    def stage(self, order: Int64 | None = None) -> Array:
        """Return int32 records of four filters: 4 biases, 4 multipliers, 4 8-bit extras.

        Records of ``fine`` have no extras.

        Args:
            order: filters of the records, numbers beyond N for none; by default all in turn.

        Returns:
            Shape (N / 4, 9), of ``fine`` (N / 4, 8).
        """
        order = np.arange(len(self.bias)) if order is None else order
        columns = (np.append(v, 0) for v in (self.bias, self.output.multiplier, self._extras))
        chosen = (fours(column[np.minimum(order, len(self.bias))]) for column in columns)
        bias, multiplier, extra = (column.reshape(-1, GROUP) for column in chosen)
        quarters = extra.astype("<i1").view("<i4")
        words = [bias.astype("<i4"), multiplier.astype("<i4"), quarters]
        return np.concatenate(words if self.twice else words[:2], 1)

    @property
    def one_scale(self) -> Array:
        """Return what filters of one scale need, int32: multiplier, extra, the biases in fours."""
        scale = self.output.multiplier[:1], self._extras[:1]
        return np.concatenate([*scale, fours(self.bias)]).astype("<i4")

    @property
    def numbers(self) -> dict[str, Number]:
        """Return the literals of the templates' output stage."""
        output = self.output
        return {
            "mode": output.mode.value,
            "shift": output.shift,
            "scalar": self.scalar,
            "y_min": output.bounds[0],
            "y_max": output.bounds[1],
        }

    @property
    def scalar(self) -> int:
        """Return the number of the formula: of ``fine`` the unit, else the zero point."""
        return self.output.zero if self.twice else 1 << self.output.fraction

    @property
    def twice(self) -> bool:
        """Tell whether outputs are rounded twice, not taken from a line."""
        return self.output.mode is not Mode.FINE

    @property
    def _extras(self) -> Int64:
        """Return the shifts, to the left; 0 of ``fine``."""
        shifts = {Mode.SIGNED: -self.output.extra, Mode.GENERAL: self.output.extra}
        return shifts.get(self.output.mode, np.zeros_like(self.bias))


def constants(
    filters: Int64,
    tables: Mapping[str, Array],
    numbers: Mapping[str, Number],
    *,
    common: bool = False,
) -> Constants | None:
    """Fold zero points and output stage into the biases of filters (N, K).

    Args:
        filters: in the order in which the kernel reads its inputs.
        tables: ``bias``, ``multiplier`` and ``shift`` of the node.
        numbers: the node's zero points and output range.
        common: whether the kernel takes one scale for all filters where they have but one.

    Returns:
        The constants, ``None`` if a sum could leave 32 bits.
    """
    reach = reachable(filters, tables["bias"].astype(np.int64), integer(numbers, "x_zero"))
    node = filters_of(numbers, tables["multiplier"], tables["shift"], reach)
    output = choose(node, common=common, lines=(Mode.FINE,))
    live = filters * ~output.constant[:, None]
    if output.mode is Mode.FINE:
        start = np.where(output.constant, 0, reach[0] << output.fraction) + output.bias
        return Constants(live, _once_and_shifted(start, output.fraction), output)
    start, far = folded(*reach, output)
    return Constants(live, start, output) if far.max() < 2**31 else None


def _once_and_shifted(total: Int64, fraction: int) -> Int64:
    """Return ``w``, int32, with ``w + w * 2**fraction == total`` modulo ``2**32``.

    Sums start from ``w``, so that kernels need no other word: ``sum * 2**fraction + w``, taken
    modulo ``2**32``, is the products' sum times ``2**fraction``, plus ``total``.
    """
    inverse = pow((1 << fraction) + 1, -1, 1 << 32)
    words = [int(value) * inverse % (1 << 32) for value in total]
    return np.array(words, np.uint32).view(np.int32).astype(np.int64)


def interleave(filters: Int64) -> Array:
    """Return filters (N, K) as int8: of each four, 16 weights of each in turn, then the rests."""
    groups = fours(filters).reshape(-1, GROUP, filters.shape[1])
    whole = filters.shape[1] // _STEP * _STEP
    steps = groups[:, :, :whole].reshape(len(groups), GROUP, -1, _STEP).transpose(0, 2, 1, 3)
    parts = [steps.reshape(len(groups), -1), groups[:, :, whole:].reshape(len(groups), -1)]
    return np.concatenate(parts, 1).astype(np.int8)


def fours(values: Int64) -> Int64:
    """Append zeros until the first axis is a multiple of 4."""
    width = [(0, -len(values) % GROUP)] + [(0, 0)] * (values.ndim - 1)
    return np.pad(values, width)


def output_table(packed: Constants) -> Array:
    """Return what the output stage of all filters needs, int32: of one scale, or their records."""
    return packed.one_scale if packed.output.common else packed.stage()


def matrix_tables(packed: Constants) -> dict[str, Array]:
    """Return the tables of the matrix product kernels."""
    return {"weights": interleave(packed.filters), "stage": output_table(packed)}


def matrix_helpers(packed: Constants, pixels: int) -> tuple[Helper, ...]:
    """Return the matrix products for pairs of pixels and, where ``pixels`` is odd, for the last."""
    sizes = [2] * (pixels > 1) + [1] * (pixels % 2)
    rest = len(packed.filters) % GROUP
    numbers = {**packed.numbers, "rest": rest, "common": packed.output.common}
    del numbers["scalar"]
    return tuple(Helper("matmul_mve", {"pixels": p, **numbers}) for p in sizes)
