"""Fully connected layers on the DSP extension: a vector of inputs with four filters at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolchain.ir.tensor import Array
from toolchain.kernels.base import Helper, Isa, Specialised, integer
from toolchain.kernels.packing import Packed, pack
from toolchain.ops.base import Lowered, Number


@dataclass(frozen=True)
class FullyConnectedDsp:
    """A fully connected layer; inputs are widened in registers, no scratch memory is needed."""

    name: str = "fully_connected_dsp"
    isa: Isa = Isa.DSP

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
        n = lowered.numbers
        rows, depth, units = (integer(n, key) for key in ("rows", "depth", "units"))
        groups = _groups(units)
        numbers: dict[str, Number] = {
            "rows": rows,
            "depth": depth,
            "units": units,
            "steps": -(-depth // 4),
            "groups": groups,
            "stage_words": packed.stage.shape[1],
        }
        tables = {"weights": _interleave(packed.weights, units // 4), "stage": packed.stage}
        return Specialised(numbers, tables, in_order=True, helpers=_helpers(packed, groups, depth))


def _groups(units: int) -> tuple[tuple[int, int, int], ...]:
    """Return runs of groups as (first filter, groups, filters per group): fours, pair, single."""
    fours, rest = units // 4, units % 4
    runs = [(0, fours, 4), (4 * fours, rest // 2, 2), (units - rest % 2, rest % 2, 1)]
    return tuple(run for run in runs if run[1])


def _helpers(
    packed: Packed, groups: tuple[tuple[int, int, int], ...], depth: int
) -> tuple[Helper, ...]:
    common = {"tail": depth % 4 > 0, **packed.output.numbers}
    return tuple(
        Helper("vector_dsp", {"pairs": (size + 1) // 2, "odd": size == 1, **common})
        for _, _, size in groups
    )


def _packed(lowered: Lowered) -> Packed | None:
    weights = lowered.tables["weights"].astype(np.int64)
    padded = np.pad(weights, ((0, 0), (0, -weights.shape[1] % 4)))
    return pack(padded, lowered.tables, lowered.numbers)


def _interleave(weights: Array, quads: int) -> Array:
    """Bring the pairs of each four filters side by side, 8 bytes of one after 8 of the other."""
    steps = weights.reshape(len(weights), -1, 8)
    fours = steps[: 2 * quads].reshape(quads, 2, steps.shape[1], 8).transpose(0, 2, 1, 3)
    return np.concatenate([fours.reshape(-1), steps[2 * quads :].reshape(-1)])
