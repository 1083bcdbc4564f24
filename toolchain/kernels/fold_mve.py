"""Fully connected layers that take a map row by row, on the vector extension.

Weights are packed as for `toolchain.kernels.fully_connected_mve`, row of the map by row; sums stay
in scratch memory from call to call.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolchain.kernels import cost_mve
from toolchain.kernels.base import Isa, Specialised, integer
from toolchain.kernels.packing_mve import GROUP, Constants, constants, interleave, output_table
from toolchain.ops.base import Lowered


@dataclass(frozen=True)
class FullyConnectedFoldMve:
    """A fully connected layer that takes a row of its map per call, four filters at a time."""

    name: str = "fully_connected_fold_mve"
    isa: Isa = Isa.MVE

    def supports(self, lowered: Lowered) -> bool:
        """See `Kernel.supports`."""
        fold = lowered.kernel == "fully_connected_fold" and lowered.numbers["w_zero"] == 0
        return fold and _packed(lowered) is not None

    def specialise(self, lowered: Lowered) -> Specialised:
        """See `Kernel.specialise`."""
        packed = _packed(lowered)
        assert packed is not None
        rows, depth, units = (integer(lowered.numbers, key) for key in ("rows", "depth", "units"))
        parts = np.split(packed.filters, rows, axis=1)
        weights = np.concatenate([interleave(part).reshape(-1) for part in parts])
        return Specialised(
            {
                **packed.numbers,
                **{"rows": rows, "depth": depth, "units": units, "rest": units % GROUP},
                "common": packed.output.common,
                "row_bytes": weights.size // rows,
            },
            {"weights": weights, "stage": output_table(packed)},
            4 * -(-units // GROUP) * GROUP,
            instructions=cost_mve.folded(depth, units, rows, twice=packed.twice),
        )


def _packed(lowered: Lowered) -> Constants | None:
    filters = lowered.tables["weights"].astype(np.int64)
    # The input's zero point is in what sums start from.
    numbers, tables = {**lowered.numbers, "x_zero": 0}, {**lowered.tables}
    return constants(filters, {**tables, "bias": tables["start"]}, numbers, common=True)
