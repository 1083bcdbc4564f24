"""Inputs of fixed-point functions that saturate: scaled to Qm.n, clipped where they would leave it.

Reference: TensorFlow Lite ``CalculateInputRadius`` and ``PreprocessSoftmaxScaling``.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from toolchain.ir.tensor import Tensor
from toolchain.numerics import Int64, quantize_multiplier, requantize

Mask = npt.NDArray[np.bool_]


def input_radius(integer_bits: int, shift: int) -> int:
    """Return the largest input difference that, scaled left by ``shift``, stays in Qm.n."""
    return math.floor(math.ldexp(2**integer_bits - 1, 31 - integer_bits - shift))


def saturating_input(x: Tensor, values: Int64) -> tuple[Int64, Mask, Mask]:
    """Scale the elements of ``x`` to Q4.27.

    Returns:
        the scaled values (0 where they would overflow), where the function has reached its lower
        limit, where its upper one.
    """
    integer_bits = 4
    multiplier, shift = quantize_multiplier(math.ldexp(x.scale, 31 - integer_bits))
    radius = input_radius(integer_bits, shift)
    centred = values - x.zero_point
    below, above = centred <= -radius, centred >= radius
    inside = np.where(below | above, 0, centred)
    return requantize(inside, multiplier, shift), below, above


def softmax_scaling(scale: float, beta: float) -> tuple[int, int, int]:
    """Return multiplier, shift and least input of differences scaled to Q5.26 by ``beta``."""
    integer_bits = 5
    real = min(beta * scale * 2.0 ** (31 - integer_bits), 2.0**31 - 1)
    multiplier, shift = quantize_multiplier(real)
    return multiplier, shift, -input_radius(integer_bits, shift)
