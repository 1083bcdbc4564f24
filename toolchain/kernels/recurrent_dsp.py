"""Recurrent layers on the DSP extension: products of inputs as a fully connected layer has them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolchain.ir.tensor import Array
from toolchain.kernels.base import Isa, Specialised, integer
from toolchain.kernels.fully_connected_dsp import interleave
from toolchain.kernels.packing import lanes
from toolchain.kernels.price_others import other
from toolchain.ops.base import Lowered

_REACH = 2**23  # 256 times a sum of products must fit a word


@dataclass(frozen=True)
class LstmDsp:
    """An LSTM layer of int8 whose units come in fours; inputs are widened in registers."""

    name: str = "lstm_16_dsp"
    isa: Isa = Isa.DSP

    def supports(self, lowered: Lowered) -> bool:
        """See `Kernel.supports`."""
        if lowered.kernel != "lstm_16" or lowered.numbers["wide"]:
            return False
        fours = integer(lowered.numbers, "units") % 4 == 0
        tables = (lowered.tables["weights"], lowered.tables["recurrent"])
        return fours and all(_packed(weights) is not None for weights in tables)

    def specialise(self, lowered: Lowered) -> Specialised:
        """See `Kernel.specialise`."""
        packed = {name: _packed(lowered.tables[name]) for name in ("weights", "recurrent")}
        tables = {**lowered.tables, **{k: v for k, v in packed.items() if v is not None}}
        return Specialised(
            lowered.numbers,
            tables,
            lowered.scratch_bytes,
            instructions=other(self.name, lowered),
        )


@dataclass(frozen=True)
class SvdfDsp:
    """An SVDF layer whose filters come in fours."""

    name: str = "svdf_dsp"
    isa: Isa = Isa.DSP

    def supports(self, lowered: Lowered) -> bool:
        """See `Kernel.supports`."""
        if lowered.kernel != "svdf":
            return False
        features = lowered.tables["features"]
        return len(features) % 4 == 0 and _packed(features) is not None

    def specialise(self, lowered: Lowered) -> Specialised:
        """See `Kernel.specialise`."""
        features = lowered.tables["features"]
        packed = _packed(features)
        assert packed is not None
        entering = -(-len(features) * integer(lowered.numbers, "time_bits") // 32) * 4
        return Specialised(
            lowered.numbers,
            {**lowered.tables, "features": packed},
            entering,
            instructions=other(self.name, lowered),
        )


def _packed(weights: Array) -> Array | None:
    """Return weights (..., K) in lanes, four filters side by side, ``None`` if one does not fit."""
    filters = weights.reshape(-1, weights.shape[-1]).astype(np.int64)
    if np.abs(filters).sum(axis=1).max(initial=0) << 7 >= _REACH:
        return None
    made = lanes(np.pad(filters, ((0, 0), (0, -filters.shape[1] % 4))))
    return None if made is None else interleave(made, len(filters) // 4, 8)
