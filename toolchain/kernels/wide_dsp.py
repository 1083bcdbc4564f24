"""16x8 weighted layers on the DSP extension: one SMLAD per pair of products.

Activations are pairs of 16 bits as they lie in memory. A word of weights holds two products of two
filters, ``n[k] m[k] n[k + 1] m[k + 1]``, so that two sign extensions make a pair of either.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolchain.ir.tensor import Array
from toolchain.kernels import cost_wide
from toolchain.kernels.base import Helper, Isa, Specialised, integer
from toolchain.kernels.conv_dsp import Geometry
from toolchain.kernels.loops import inside, reached
from toolchain.numerics import Int64
from toolchain.ops.base import Lowered, Number, RowTaps

BLOCK = 3  # pixels


@dataclass(frozen=True)
class WideConvDsp:
    """Convolution of one group; 1x1 windows are read in place, others gathered in scratch."""

    name: str = "conv2d_16x8_dsp"
    isa: Isa = Isa.DSP

    def supports(self, lowered: Lowered) -> bool:
        """See `Kernel.supports`."""
        plain = lowered.kernel == "conv2d_16x8" and lowered.numbers["groups"] == 1
        return plain and lowered.numbers["mode"] == "high"

    def specialise(self, lowered: Lowered) -> Specialised:
        """See `Kernel.specialise`."""
        n, geometry = lowered.numbers, Geometry.of(lowered.numbers)
        out_c, out_w = integer(n, "out_c"), geometry.out_w
        filters = lowered.tables["weights"].reshape(out_c, -1)
        depth = filters.shape[1] + filters.shape[1] % 2
        in_place = geometry.kernel == (1, 1) and geometry.in_c % 2 == 0 and not geometry.edges
        keys = ("kernel", "in_w", "in_c", "out_w", "stride_w", "dilation_w", "pad_left", "pad_rows")
        numbers: dict[str, Number] = {
            **{key: n[key] for key in keys},
            "out_c": out_c,
            "pairs": (out_c + 1) // 2,
            "depth": depth,
            "in_place": in_place,
            "edges": geometry.edges,
        }
        sizes = [BLOCK] * (out_w >= BLOCK) + [out_w % BLOCK] * (out_w % BLOCK > 0)
        return Specialised(
            numbers,
            {"weights": pack_pairs(filters), "stage": stage(lowered, out_c)},
            0 if in_place else min(BLOCK, out_w) * depth * 2,
            in_order=not in_place or _whole_rows(lowered),
            taps=lowered.taps,
            helpers=tuple(_helper(lowered, size, out_c % 2) for size in sizes),
            instructions=cost_wide.windows(
                geometry, _taps(lowered), (out_c + 1) // 2, depth, in_place=in_place
            ),
        )


@dataclass(frozen=True)
class WideFullyConnectedDsp:
    """A fully connected layer; an odd number of inputs is copied and padded in scratch memory."""

    name: str = "fully_connected_16x8_dsp"
    isa: Isa = Isa.DSP

    def supports(self, lowered: Lowered) -> bool:
        """See `Kernel.supports`."""
        return lowered.kernel == "fully_connected_16x8" and lowered.numbers["mode"] == "high"

    def specialise(self, lowered: Lowered) -> Specialised:
        """See `Kernel.specialise`."""
        n = lowered.numbers
        rows, depth, units = (integer(n, key) for key in ("rows", "depth", "units"))
        even = depth + depth % 2
        fours = units // 4
        numbers: dict[str, Number] = {
            "rows": rows,
            "depth": depth,
            "units": units,
            "fours": fours,
            "pairs": (units % 4 + 1) // 2,
        }
        words = pack_pairs(lowered.tables["weights"]).reshape(-1, even // 2, 4)
        quads = words[: 2 * fours].reshape(fours, 2, even // 2, 4).transpose(0, 2, 1, 3)
        weights = np.concatenate([quads.reshape(-1), words[2 * fours :].reshape(-1)])
        helpers = [_helper(lowered, 1, 0, pairs=2)] * (fours > 0)
        helpers += [_helper(lowered, 1, units % 2)] * (units % 4 > 0)
        scratch = 2 * even if depth % 2 else 0
        tables: dict[str, Array] = {"weights": weights, "stage": stage(lowered, units)}
        return Specialised(
            numbers,
            tables,
            scratch,
            in_order=True,
            helpers=tuple(helpers),
            instructions=cost_wide.vectors(rows, depth, units),
        )


@dataclass(frozen=True)
class WideDepthwiseDsp:
    """Depthwise convolution of multiplier 1 whose channels come in fours."""

    name: str = "depthwise_conv2d_16x8_dsp"
    isa: Isa = Isa.DSP

    def supports(self, lowered: Lowered) -> bool:
        """See `Kernel.supports`."""
        n = lowered.numbers
        return (
            lowered.kernel == "depthwise_conv2d_16x8"
            and (n["mode"], n["multiplier"]) == ("high", 1)
            and integer(n, "in_c") % 4 == 0
        )

    def specialise(self, lowered: Lowered) -> Specialised:
        """See `Kernel.specialise`."""
        n, geometry = lowered.numbers, Geometry.of(lowered.numbers)
        keys = ("kernel", "in_w", "in_c", "out_w", "stride_w", "dilation_w", "pad_left", "pad_rows")
        numbers: dict[str, Number] = {
            **{key: n[key] for key in (*keys, "y_min", "y_max")},
            "inside": geometry.inside,
        }
        multiplier = np.broadcast_to(lowered.tables["multiplier"], geometry.in_c)
        columns = [c.reshape(-1, 4) for c in (lowered.tables["bias"], multiplier)]
        tables = {
            "weights": lowered.tables["weights"],
            "stage": np.concatenate(columns, axis=1).astype(np.int32),
        }
        height, width = geometry.kernel
        seen = inside(_taps(lowered), height), reached(n, width)
        return Specialised(
            numbers,
            tables,
            in_order=True,
            taps=lowered.taps,
            instructions=cost_wide.depthwise(geometry, _taps(lowered), *seen),
        )


def pack_pairs(filters: Array) -> Array:
    """Return int8 filters (N, K), zeros added, as (pairs, K / 2, 2 inputs, 2 filters)."""
    odd = [(0, size % 2) for size in filters.shape]
    even = np.pad(filters, odd)
    pairs = even.reshape(len(even) // 2, 2, -1, 2).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(pairs, dtype=np.int8)


def stage(lowered: Lowered, channels: int) -> Array:
    """Return int32 (pairs, 4): both biases, both multipliers."""
    multiplier = np.broadcast_to(lowered.tables["multiplier"], channels)
    columns = [_even(lowered.tables["bias"]), _even(multiplier)]
    return np.concatenate([c.reshape(-1, 2) for c in columns], 1).astype(np.int32)


def _taps(lowered: Lowered) -> RowTaps:
    assert lowered.taps is not None
    return lowered.taps


def _whole_rows(lowered: Lowered) -> bool:
    """Tell whether the order that counts is that of rows or maps, not of columns."""
    taps = lowered.taps
    return taps is not None and (taps.batch > 1 or taps.out_rows > 1)


def _even(values: Array) -> Int64:
    return np.pad(values.astype(np.int64), (0, len(values) % 2))


def _helper(lowered: Lowered, pixels: int, odd: int, pairs: int = 1) -> Helper:
    bounds = {key: lowered.numbers[key] for key in ("y_min", "y_max")}
    return Helper("dot_16x8_dsp", {"pixels": pixels, "pairs": pairs, "odd": odd, **bounds})
