"""Convolution and fully connected layers in portable C: runs of inputs times four filters.

A pixel's inputs are a short list of runs: itself, or the rows of its window, with padding read from
a row of zero points. The list is made once and multiplied with all filters, eight or four at a
time, so that an input is loaded once for as many products; nothing is copied and no scratch memory
is needed. The input's zero point is folded into the bias.

Eight filters are interleaved and stored as weight + 128: Armv6-M can load a byte from a literal
distance only if it is not signed, and with one pointer for all filters there are registers for
eight sums. The inputs' sum, taken 128 times, is subtracted from each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from toolchain.ir.tensor import Array
from toolchain.kernels import cost
from toolchain.kernels.base import Helper, Isa, Specialised, integer
from toolchain.kernels.conv_dsp import Geometry
from toolchain.kernels.packing import Alone, alone
from toolchain.ops.base import Lowered, Number


@dataclass(frozen=True)
class Conv2dRuns:
    """Convolution of one group with any kernel, stride, dilation and padding, row by row."""

    name: str = "conv2d_runs"
    isa: Isa = Isa.PORTABLE

    def supports(self, lowered: Lowered) -> bool:
        """See `Kernel.supports`."""
        return (
            lowered.kernel == "conv2d"
            and lowered.numbers["groups"] == 1
            and lowered.taps is not None
            and _packed(lowered) is not None
        )

    def specialise(self, lowered: Lowered) -> Specialised:
        """See `Kernel.specialise`."""
        packed, geometry = _packed(lowered), Geometry.of(lowered.numbers)
        assert packed is not None
        numbers: dict[str, Number] = {
            **{k: lowered.numbers[k] for k in ("kernel", "in_w", "in_c", "out_w", "out_c")},
            **{k: lowered.numbers[k] for k in ("stride_w", "dilation_w", "pad_left", "x_zero")},
            "width": geometry.width,
            "edges": geometry.edges,
            "outside": geometry.length if geometry.edges else 0,
            "runs": _runs(geometry),
            "extra": "extra" in packed.tables,
            "odd": packed.output.takes_zero,
            "odd_zero": packed.output.odd_zero,
        }
        return Specialised(
            numbers,
            _tables(packed),
            in_order=True,
            taps=lowered.taps,
            helpers=(_filters(packed, lowered.numbers),),
            instructions=_instructions(lowered, geometry, cost.RUNS),
            armv6m=_instructions(lowered, geometry, cost.RUNS_ARMV6M),
            reads=geometry.out_w * cost.calls_of(lowered.taps),
        )


@dataclass(frozen=True)
class FullyConnectedRuns:
    """A fully connected layer: every row of inputs is one run."""

    name: str = "fully_connected_runs"
    isa: Isa = Isa.PORTABLE

    def supports(self, lowered: Lowered) -> bool:
        """See `Kernel.supports`."""
        return lowered.kernel == "fully_connected" and _packed(lowered) is not None

    def specialise(self, lowered: Lowered) -> Specialised:
        """See `Kernel.specialise`."""
        packed, n = _packed(lowered), lowered.numbers
        assert packed is not None
        numbers: dict[str, Number] = {
            **{key: n[key] for key in ("rows", "depth", "units")},
            "extra": "extra" in packed.tables,
        }
        rows, units, depth = (integer(n, key) for key in ("rows", "units", "depth"))
        return Specialised(
            numbers,
            _tables(packed),
            in_order=True,
            helpers=(_filters(packed, n, shared=False),),
            instructions=cost.runs(rows, units, depth, 1, cost.RUNS),
            armv6m=cost.runs(rows, units, depth, 1, cost.VECTORS_ARMV6M),
        )


def _instructions(lowered: Lowered, geometry: Geometry, prices: cost.Runs) -> int:
    taps = lowered.taps
    assert taps is not None
    pixels, filters = taps.batch * taps.out_rows * geometry.out_w, integer(lowered.numbers, "out_c")
    depth = geometry.segments * geometry.length
    return cost.runs(pixels, filters, depth, geometry.segments, prices)


def _runs(geometry: Geometry) -> int:
    """Return how many runs a window may have: the map and what lies on both sides of it."""
    if not geometry.edges or geometry.width == 1:
        return geometry.segments
    last = (geometry.out_w - 1) * geometry.stride_w - geometry.pad_left
    sides = (geometry.pad_left > 0) + (last + geometry.width > geometry.in_w)
    # A window that is no wider than the map sticks out on one side at most.
    return geometry.segments * (1 + min(sides, 1 if geometry.width <= geometry.in_w else 2))


def _filters(packed: Alone, numbers: Mapping[str, Number], *, shared: bool = True) -> Helper:
    """Return the function of all filters; if ``shared``, layers of several zero points call it."""
    count, eights = _counts(packed)
    rest = count - 8 * eights
    literals: dict[str, Number] = {
        "w_zero": numbers["w_zero"],
        "eights": eights > 0,
        "fours": rest >= 4,
        "ones": rest % 4 > 0,
        "odd": shared and packed.output.takes_zero,
    }
    return Helper("filters_runs", {**literals, **packed.numbers(shared=shared)})


def _counts(packed: Alone) -> tuple[int, int]:
    """Return the number of filters and that of groups of eight."""
    count = len(packed.output.bias)
    return count, count // 8 if count >= cost.EIGHTS else 0


def _tables(packed: Alone) -> dict[str, Array]:
    """Interleave groups of eight filters, each weight as a byte 128 above it."""
    eights = _counts(packed)[1]
    filters = packed.tables["weights"]
    groups = filters[: 8 * eights].reshape(eights, 8, filters.shape[1]).transpose(0, 2, 1)
    parts = [groups.reshape(-1) ^ np.int8(-128), filters[8 * eights :].reshape(-1)]
    return {**packed.tables, "weights": np.concatenate(parts)}


def _packed(lowered: Lowered) -> Alone | None:
    weights: Array = lowered.tables["weights"]
    if weights.dtype != np.int8:
        return None
    filters = weights.astype(np.int64).reshape(len(weights), -1)
    return alone(filters, lowered.tables, lowered.numbers, common=True)
