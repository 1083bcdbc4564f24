"""Fully connected layers on the vector extension: a row of inputs with four filters at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolchain.kernels import cost_mve
from toolchain.kernels.base import Isa, Specialised, integer
from toolchain.kernels.packing_mve import Constants, constants, matrix_helpers, matrix_tables
from toolchain.ops.base import Lowered


@dataclass(frozen=True)
class FullyConnectedMve:
    """A fully connected layer: the matrix product of a convolution, one row at a time."""

    name: str = "fully_connected_mve"
    isa: Isa = Isa.MVE

    def supports(self, lowered: Lowered) -> bool:
        """See `Kernel.supports`."""
        return (
            lowered.kernel == "fully_connected"
            and lowered.numbers["w_zero"] == 0
            and lowered.tables["weights"].dtype == np.int8
            and _packed(lowered) is not None
        )

    def specialise(self, lowered: Lowered) -> Specialised:
        """See `Kernel.specialise`."""
        packed = _packed(lowered)
        assert packed is not None
        numbers = {key: lowered.numbers[key] for key in ("rows", "depth", "units")}
        numbers["scalar"] = packed.scalar
        units, depth = packed.filters.shape
        products = cost_mve.Products(1, depth, units, packed.twice)
        return Specialised(
            numbers,
            matrix_tables(packed),
            in_order=True,
            helpers=matrix_helpers(packed, 1),
            instructions=cost_mve.rows(products, integer(lowered.numbers, "rows")),
        )


def _packed(lowered: Lowered) -> Constants | None:
    filters = lowered.tables["weights"].astype(np.int64)
    return constants(filters, lowered.tables, lowered.numbers, common=True)
