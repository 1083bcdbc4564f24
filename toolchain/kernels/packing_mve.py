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
        bias: shape (N,), the input's zero point and the output stage folded in.
        output: the formula of the output stage.
    """

    filters: Int64
    bias: Int64
    output: OutputStage

    def stage(self, order: Int64 | None = None) -> Array:
        """Return int32 records of shape (N / 4, 9): 4 biases, 4 multipliers, 4 8-bit extras.

        Args:
            order: filters of the records, numbers beyond N for none; by default all in turn.
        """
        order = np.arange(len(self.bias)) if order is None else order
        columns = (np.append(v, 0) for v in (self.bias, self.output.multiplier, self._extras))
        chosen = (fours(column[np.minimum(order, len(self.bias))]) for column in columns)
        bias, multiplier, extra = (column.reshape(-1, GROUP) for column in chosen)
        quarters = extra.astype("<i1").view("<i4")
        return np.concatenate([bias.astype("<i4"), multiplier.astype("<i4"), quarters], 1)

    @property
    def numbers(self) -> dict[str, Number]:
        """Return the literals of the templates' output stage."""
        output = self.output
        return {
            "mode": output.mode.value,
            "shift": output.shift,
            "y_zero": output.zero if self.twice else 0,
            "y_min": output.bounds[0],
            "y_max": output.bounds[1],
        }

    @property
    def twice(self) -> bool:
        """Tell whether outputs are rounded twice, not taken from a line."""
        return self.output.mode is not Mode.SHORT

    @property
    def _extras(self) -> Int64:
        """Return the constants, what rounding adds taken off; shifts with the vectors' sign."""
        half = 1 << self.output.shift >> 1
        return -self.output.extra if self.output.mode is Mode.SIGNED else self.output.extra - half


def constants(
    filters: Int64, tables: Mapping[str, Array], numbers: Mapping[str, Number]
) -> Constants | None:
    """Fold zero points and output stage into the biases of filters (N, K).

    Returns:
        The constants, ``None`` if a sum could leave 32 bits.
    """
    reach = reachable(filters, tables["bias"].astype(np.int64), integer(numbers, "x_zero"))
    node = filters_of(numbers, tables["multiplier"], tables["shift"], reach)
    output = choose(node, lines=(Mode.SHORT,))
    start, far = folded(*reach, output)
    if far.max() >= 2**31:
        return None
    return Constants(filters * ~output.constant[:, None], start, output)


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


def matrix_tables(packed: Constants) -> dict[str, Array]:
    """Return the tables of the matrix product kernels."""
    return {"weights": interleave(packed.filters), "stage": packed.stage()}


def matrix_helpers(packed: Constants, pixels: int) -> tuple[Helper, ...]:
    """Return the matrix products for pairs of pixels and, where ``pixels`` is odd, for the last."""
    sizes = [2] * (pixels > 1) + [1] * (pixels % 2)
    rest = len(packed.filters) % GROUP
    numbers = {**packed.numbers, "rest": rest}
    del numbers["y_zero"]
    return tuple(Helper("matmul_mve", {"pixels": p, **numbers}) for p in sizes)
