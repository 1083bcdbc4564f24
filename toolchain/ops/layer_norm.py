"""LAYER_NORM over the last axis, int8 or int16."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from toolchain.fixed_point import inverse_root
from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array, DType, Tensor
from toolchain.numerics import Int64, saturate
from toolchain.ops.base import Lowered, Op, TensorType, require, require_integers
from toolchain.ops.softmax import last_axis
from toolchain.ops.window import Window

Z_BITS = 22  # fractional bits of a normalised value
_SPREAD_BITS = 60
_MOST_FRACTION = 16  # of the spread's bits
_MAX_DEPTH = 2**14


class Stage(NamedTuple):
    """What makes outputs of normalised values: ``(z * gain + offset) >> shift``.

    Attributes:
        gain: one factor per channel, 32 bits.
        offset: one summand per channel, 64 bits, with the zero point and half a step.
        shift: the fractional bits that ``z * gain`` has.
    """

    gain: Int64
    offset: Int64
    shift: int


@dataclass(frozen=True)
class LayerNorm(Op):
    """``(x - mean) / sqrt(variance + epsilon) * gain + offset`` for rows of x (..., N).

    ``gain`` and ``offset`` (N,) are optional constants, of real numbers or quantised. No TFLite
    runtime has this operator, so its integers are defined here. With codes c of a row

        d = N * c - sum(c)
        v = N * sum(c**2) - sum(c)**2 + round(N**2 * epsilon / s_x**2)

    are exact but for the rounding of epsilon, as zero points cancel; v has up to 16 fractional
    bits. ``z = d / sqrt(v)`` is the normalised value: 22 fractional bits, rounded half up, with the
    root of `toolchain.fixed_point.inverse_root`. The output is
    ``(z * gain + offset) >> shift`` in 64 bits, saturated; both factors per channel are rounded to
    integers once, half of the last step is part of the offset.

    Reference: J. L. Ba, J. R. Kiros and G. E. Hinton, "Layer Normalization", 2016, section 3.
    """

    name: ClassVar[str] = "layer_norm"
    real_constants: ClassVar[bool] = True
    epsilon: float = 1e-5

    def infer(self, operands: Operands) -> tuple[TensorType, ...]:
        """See `Op.infer`."""
        x = operands.input(0)
        dtype = require_integers(self, x, *operands.outputs)
        require(len(x.shape) > 0 and x.shape[-1] <= _MAX_DEPTH, self, "rows of 1 to 16384 needed")
        require(0 <= self.epsilon < math.inf, self, "epsilon must be finite and not negative")
        for tensor in (operands.optional(1), operands.optional(2)):
            fits = tensor is None or (tensor.is_constant and tensor.shape == x.shape[-1:])
            require(fits, self, f"gain and offset must be constants of {x.shape[-1]} elements")
        if x.quant is not None:
            self._spread(operands)
        return (TensorType(x.shape, dtype),)

    def reference(self, operands: Operands, values: Sequence[Array | None]) -> tuple[Array, ...]:
        """See `Op.reference`."""
        x, y = np.asarray(values[0], dtype=np.int64), operands.output
        stage, depth = self._stage(operands), x.shape[-1]
        total = x.sum(axis=-1, keepdims=True)
        spread = depth * np.square(x).sum(axis=-1, keepdims=True) - np.square(total)
        fraction, epsilon = self._spread(operands)
        mantissa, exponent = inverse_root((spread << fraction) + epsilon)
        bits = exponent + (30 - Z_BITS - fraction // 2)
        z = ((depth * x - total) * mantissa + (np.int64(1) << (bits - 1))) >> bits
        made = (z * stage.gain + stage.offset) >> stage.shift
        return (saturate(made, y.dtype.limits, y.dtype),)

    def windows(self, operands: Operands) -> tuple[Window, ...]:
        """See `Op.windows`."""
        return (last_axis(operands.input(0)),)

    def lower(self, operands: Operands) -> Lowered:
        """See `Op.lower`."""
        x, stage = operands.input(0), self._stage(operands)
        depth, (fraction, epsilon) = x.shape[-1], self._spread(operands)
        return Lowered(
            "layer_norm",
            {
                "rows": x.size // depth,
                "depth": depth,
                "fraction": fraction,
                "epsilon": epsilon,
                "shift": stage.shift,
                "bits": 8 * x.dtype.itemsize,
            },
            {"gain": stage.gain.astype(np.int32), "offset": stage.offset},
            in_order=True,
        )

    def _spread(self, operands: Operands) -> tuple[int, int]:
        """Return the fractional bits of v, which has 61 bits in all, and epsilon on its scale.

        Epsilon is at least 1, so that v has an inverse root.
        """
        x = operands.input(0)
        whole = 2 * (x.shape[-1] - 1).bit_length() + 16 * x.dtype.itemsize - 2
        epsilon = x.shape[-1] ** 2 * self.epsilon / x.scale**2
        require(epsilon < 2.0**_SPREAD_BITS, self, "epsilon is too large for the scale of x")
        spare = _SPREAD_BITS - max(whole, math.frexp(epsilon)[1])
        fraction = min(_MOST_FRACTION, spare - spare % 2)
        return fraction, max(1, round(epsilon * 2**fraction))

    def _stage(self, operands: Operands) -> Stage:
        """Return factors with as many bits as 32-bit gains and 62-bit offsets have room for."""
        y, depth = operands.output, operands.input(0).shape[-1]
        gain, offset = (
            real_values(tensor, depth, default) / y.scale
            for tensor, default in ((operands.optional(1), 1.0), (operands.optional(2), 0.0))
        )
        offset = offset + (y.zero_point + 0.5)
        widest, farthest = float(np.abs(gain).max()), max(1.0, float(np.abs(offset).max()))
        fits = widest * math.sqrt(depth) + farthest < 2.0**31
        require(fits, self, "the output's scale is too fine for gain and offset")
        bits = min(30 - math.frexp(widest)[1], 60 - Z_BITS - math.frexp(farthest)[1])
        scaled = np.rint(offset * 2.0 ** (Z_BITS + bits)).astype(np.int64)
        return Stage(np.rint(gain * 2.0**bits).astype(np.int64), scaled, Z_BITS + bits)


def real_values(tensor: Tensor | None, count: int, default: float) -> npt.NDArray[np.float64]:
    """Return what a constant stands for; ``count`` times ``default`` where it is absent."""
    if tensor is None:
        return np.full(count, default)
    values = tensor.values.astype(np.float64)
    if tensor.dtype is DType.FLOAT32 or tensor.quant is None:
        return values
    return (values - tensor.zero_point) * tensor.scale
