"""HARD_SWISH: ``x * relu6(x + 3) / 6``, int8, in TFLite's own 16-bit arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array
from toolchain.numerics import Int64, quantize_multiplier, rounding_shift_right, saturate
from toolchain.ops.base import require
from toolchain.ops.unary import Unary

_HIGH = 2**15 - 1
_UP = 7  # inputs are shifted up to fill 16 bits


@dataclass(frozen=True)
class HardSwish(Unary):
    """Hard swish of int8 x.

    Reference: A. Howard et al., "Searching for MobileNetV3", ICCV 2019, section 5.2; TensorFlow
    Lite ``reference_ops::HardSwish`` for the 16-bit fixed point.
    """

    name: ClassVar[str] = "hard_swish"

    def evaluate(self, operands: Operands, x: Int64) -> Array:
        """See `Unary.evaluate`."""
        source, y = operands.input(0), operands.output
        fine = source.scale * 2.0**-_UP
        out, out_shift = _multiplier16(fine / y.scale)
        gate, gate_shift = _multiplier16(fine / (3 / 2**15))
        require(out_shift <= 0, self, f"x's scale is over {2**_UP} times the output's")
        wide = (x - source.zero_point) << _UP
        relu = _gate(wide, gate, gate_shift)
        product = relu * _multiply16(wide, out)
        # This product alone truncates towards zero.
        truncated = np.sign(product) * (np.abs(product) >> 15)
        scaled = rounding_shift_right(truncated, -out_shift) + y.zero_point
        return saturate(scaled, y.dtype.limits, y.dtype)


def _gate(wide: Int64, multiplier: int, shift: int) -> Int64:
    """Return ``relu6(x + 3) / 6`` in 1/32768, saturated on the way as 16-bit registers are."""
    if shift > 0:
        early = _saturate16(wide << (shift - 1))
        scaled = _saturate16(_multiply16(early, multiplier) << 1)
    else:
        scaled = rounding_shift_right(_multiply16(wide, multiplier), -shift)
    gate: Int64 = (scaled + 2**15) >> 1
    return gate


def _multiplier16(real: float) -> tuple[int, int]:
    multiplier, shift = quantize_multiplier(real)
    return min((multiplier + 2**15) >> 16, _HIGH), shift


def _multiply16(a: Int64, b: int) -> Int64:
    return _saturate16((a * b + 2**14) >> 15)


def _saturate16(x: Int64) -> Int64:
    return np.clip(x, -(2**15), _HIGH)
