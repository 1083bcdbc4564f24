"""Fully connected layers on the DSP extension: a vector of inputs with four filters at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from toolchain.ir.tensor import Array
from toolchain.kernels import cost
from toolchain.kernels.base import Helper, Isa, Specialised, integer
from toolchain.kernels.conv_dsp import Geometry, plain_filters
from toolchain.kernels.nibble_packing import pack_pairs, unpacked
from toolchain.kernels.packing import Packed, pack
from toolchain.kernels.packing_apart import pack_apart, zeros
from toolchain.ops.base import Lowered, Number, RowTaps


@dataclass(frozen=True)
class FullyConnectedDsp:
    """A fully connected layer; inputs are widened in registers, no scratch memory is needed.

    Attributes:
        nibbles: whether weights have 4 bits.
    """

    name: str = "fully_connected_dsp"
    isa: Isa = Isa.DSP
    nibbles: bool = False

    def supports(self, lowered: Lowered) -> bool:
        """See `Kernel.supports`."""
        return (
            lowered.kernel == ("fully_connected_w4" if self.nibbles else "fully_connected")
            and lowered.numbers["w_zero"] == 0
            and lowered.tables["weights"].dtype == np.int8
            and self._packed(lowered) is not None
        )

    def specialise(self, lowered: Lowered) -> Specialised:
        """See `Kernel.specialise`."""
        packed, n = self._packed(lowered), lowered.numbers
        assert packed is not None
        rows, depth, units = (integer(n, key) for key in ("rows", "depth", "units"))
        return _vectors(packed, {"rows": rows, "depth": depth, "units": units}, None)

    def _packed(self, lowered: Lowered) -> Packed | None:
        if not self.nibbles:
            return _packed(lowered)
        depth = integer(lowered.numbers, "depth")
        padded = np.pad(unpacked(lowered.tables, depth), ((0, 0), (0, -depth % 4)))
        return pack_pairs(padded, lowered.tables, lowered.numbers, common=True)


@dataclass(frozen=True)
class PixelDsp:
    """A convolution whose window is the whole map: its inputs are a vector."""

    name: str = "conv1x1_pixel_dsp"
    isa: Isa = Isa.DSP

    def supports(self, lowered: Lowered) -> bool:
        """See `Kernel.supports`."""
        n, taps = lowered.numbers, lowered.taps
        return (
            lowered.kernel == "conv2d"
            and taps is not None
            and (taps.batch, taps.out_rows, n["out_w"]) == (1, 1, 1)
            and n["kernel"] == (taps.in_rows, n["in_w"])
            and not Geometry.of(n).edges
            and plain_filters(lowered) is not None
            and _packed(lowered) is not None
        )

    def specialise(self, lowered: Lowered) -> Specialised:
        """See `Kernel.specialise`."""
        packed, taps = _packed(lowered), lowered.taps
        assert packed is not None
        assert taps is not None
        depth, units = taps.in_rows * taps.in_row_size, len(packed.output.bias)
        long_row = replace(taps, count=1, stride=1, dilation=1, in_rows=1, in_row_size=depth)
        return _vectors(packed, {"depth": depth, "units": units}, long_row)


@dataclass(frozen=True)
class FullyConnectedApartDsp:
    """A fully connected layer whose weights take all of a byte; inputs are widened in scratch."""

    name: str = "fully_connected_apart_dsp"
    isa: Isa = Isa.DSP

    def supports(self, lowered: Lowered) -> bool:
        """See `Kernel.supports`."""
        return (
            lowered.kernel == "fully_connected"
            and integer(lowered.numbers, "depth") % 4 == 0
            and lowered.tables["weights"].dtype == np.int8
            and _apart(lowered) is not None
        )

    def specialise(self, lowered: Lowered) -> Specialised:
        """See `Kernel.specialise`."""
        packed, n = _apart(lowered), lowered.numbers
        assert packed is not None
        rows, depth, units = (integer(n, key) for key in ("rows", "depth", "units"))
        sizes = {"rows": rows, "depth": depth, "units": units, "pairs": len(packed.stage)}
        sizes["odd_zero"] = zeros(packed.output.odd_zero, n)
        common = {"pixels": 1, "odd": units % 2, "w_zero": n["w_zero"] != 0}
        helper = Helper("matmul_apart_dsp", {**common, **packed.numbers})
        tables = {"weights": packed.weights, "stage": packed.stage}
        return Specialised(
            sizes,
            tables,
            2 * depth,
            in_order=True,
            helpers=(helper,),
            instructions=cost.rows_apart(depth, len(packed.stage), rows),
        )


def _apart(lowered: Lowered) -> Packed | None:
    weights = lowered.tables["weights"].astype(np.int64)
    return pack_apart(weights, lowered.tables, lowered.numbers, lambda filters: filters)


def _vectors(packed: Packed, sizes: dict[str, int], taps: RowTaps | None) -> Specialised:
    """Return what a kernel needs that multiplies vectors of ``depth`` with ``units`` filters."""
    depth, units, rows = sizes["depth"], sizes["units"], sizes.get("rows", 1)
    groups = _groups(units)
    word = 4 if packed.nibbles else 8  # bytes of a pair of filters per step
    numbers: dict[str, Number] = {
        **sizes,
        "steps": -(-depth // 4),
        "step_bytes": word // 2,
        "groups": groups,
        "common": packed.common,
        "stage_words": packed.stage.shape[1],
        "odd_zero": packed.output.odd_zero,
    }
    tables = {"weights": interleave(packed.weights, units // 4, word), "stage": packed.stage}
    helpers = _helpers(packed, groups, depth)
    return Specialised(
        numbers,
        tables,
        in_order=True,
        taps=taps,
        helpers=helpers,
        instructions=cost.vectors(
            depth,
            units,
            rows,
            packed.output.mode,
            nibbles=packed.nibbles,
            common=packed.common,
        ),
    )


def _groups(units: int) -> tuple[tuple[int, int, int], ...]:
    """Return runs of groups as (first filter, groups, filters per group): fours, pair, single."""
    fours, rest = units // 4, units % 4
    runs = [(0, fours, 4), (4 * fours, rest // 2, 2), (units - rest % 2, rest % 2, 1)]
    return tuple(run for run in runs if run[1])


def _helpers(
    packed: Packed, groups: tuple[tuple[int, int, int], ...], depth: int
) -> tuple[Helper, ...]:
    common = {"tail": depth % 4 > 0, **packed.numbers}
    return tuple(
        Helper("vector_dsp", {"pairs": (size + 1) // 2, "odd": size == 1, **common})
        for _, _, size in groups
    )


def _packed(lowered: Lowered) -> Packed | None:
    filters = plain_filters(lowered)
    weights = lowered.tables["weights"].astype(np.int64) if filters is None else filters
    padded = np.pad(weights, ((0, 0), (0, -weights.shape[1] % 4)))
    return pack(padded, lowered.tables, lowered.numbers, common=True)


def interleave(weights: Array, quads: int, size: int) -> Array:
    """Bring the pairs of each four filters side by side, ``size`` bytes of either at a time."""
    steps = weights.reshape(len(weights), -1, size)
    fours = steps[: 2 * quads].reshape(quads, 2, steps.shape[1], size).transpose(0, 2, 1, 3)
    return np.concatenate([fours.reshape(-1), steps[2 * quads :].reshape(-1)])
