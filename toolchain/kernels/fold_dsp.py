"""Fully connected layers that take a map row by row, on the DSP extension.

Weights are packed as for `toolchain.kernels.fully_connected_dsp`, row of the map by row. What a row
adds to the sums of a pair of filters is told apart at once, so that only the products of one row
must fit the pair. Sums become outputs once, so that there is one formula for all scales.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolchain.ir.tensor import Array
from toolchain.kernels import cost
from toolchain.kernels.base import Isa, Specialised, integer
from toolchain.kernels.fully_connected_dsp import interleave
from toolchain.kernels.packing import HIGH_REACH, lanes
from toolchain.ops.base import Lowered


@dataclass(frozen=True)
class FullyConnectedFoldDsp:
    """A fully connected layer that takes a row of its map per call, its filters in pairs."""

    name: str = "fully_connected_fold_dsp"
    isa: Isa = Isa.DSP

    def supports(self, lowered: Lowered) -> bool:
        """See `Kernel.supports`."""
        fold = lowered.kernel == "fully_connected_fold" and lowered.numbers["w_zero"] == 0
        return fold and _packed(lowered) is not None

    def specialise(self, lowered: Lowered) -> Specialised:
        """See `Kernel.specialise`."""
        n, packed = lowered.numbers, _packed(lowered)
        assert packed is not None
        rows, depth, units = (integer(n, key) for key in ("rows", "depth", "units"))
        sums = units + units % 2
        kept = "rows", "depth", "units", "per_channel", "y_zero", "y_min", "y_max"
        start = np.pad(lowered.tables["start"], (0, units % 2))
        return Specialised(
            {**{key: n[key] for key in kept}, "sums": sums, "row_bytes": packed.nbytes // rows},
            {**lowered.tables, "weights": packed, "start": start},
            4 * sums,
            instructions=cost.folded_vectors(depth, units, rows),
        )


def _packed(lowered: Lowered) -> Array | None:
    """Return the weights, row of the map by row, each as `interleave` has it."""
    rows, depth, units = (integer(lowered.numbers, key) for key in ("rows", "depth", "units"))
    weights = lowered.tables["weights"].astype(np.int64).reshape(units, rows, depth)
    if 128 * np.abs(weights).sum(2).max() >= HIGH_REACH:
        return None
    even = np.pad(weights, ((0, units % 2), (0, 0), (0, -depth % 4)))
    every = [lanes(even[:, row]) for row in range(rows)]
    found = [interleave(row, len(even) // 4, 8) for row in every if row is not None]
    return np.concatenate(found) if len(found) == rows else None
