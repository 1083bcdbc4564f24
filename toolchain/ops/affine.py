"""One linear form for a requantised sum of two int8 values, proven for every pair of them.

A reference kernel rounds two or three times on its way from (a, b) to y, in 64-bit products. But y
is a function of 65536 pairs only, and nearly linear. So integers are looked for with

    y = clamp((slope_a * a + slope_b * b + offset) >> shift)

for every pair, in 32-bit arithmetic. For fixed slopes each pair bounds the offset from both sides
(from one where the clamp holds y); the form is exact if the greatest lower bound does not exceed
the least upper one. Where no near slopes do, there is no form and the caller keeps its stages.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import NamedTuple

import numpy as np

from toolchain.numerics import Int64

_FREE = 2**62  # stands for no bound
_LEAST_SHIFT = 12  # below it the output is far finer than its inputs
_NEAR = sorted(product(range(-3, 4), repeat=2), key=lambda step: step[0] ** 2 + step[1] ** 2)


class Affine(NamedTuple):
    """``(slopes[0] * a + slopes[1] * b + offset) >> shift``; no int8 a and b overflow int32."""

    slopes: tuple[int, int]
    offset: int
    shift: int


def fit_affine(
    function: Callable[[Int64, Int64], Int64],
    slopes: tuple[float, float],
    centre: float,
    bounds: tuple[int, int],
) -> Affine | None:
    """Return an affine form that equals ``function`` on all int8 pairs, ``None`` if none is near.

    Args:
        function: the exact meaning, before the clamp.
        slopes: its real slopes in a and b.
        centre: its real value at (0, 0).
        bounds: the clamp's least and greatest value.
    """
    # One more than the largest value, so that slopes a few units off cannot overflow either.
    reach = 128 * (abs(slopes[0]) + abs(slopes[1])) + abs(centre) + 1
    shift = min(30, 31 - math.frexp(reach)[1])
    if shift < _LEAST_SHIFT:
        return None
    codes = np.arange(-128, 128, dtype=np.int64)
    y = np.clip(function(codes[:, None], codes), *bounds)
    least = np.where(y > bounds[0], y << shift, -_FREE)
    most = np.where(y < bounds[1], ((y + 1) << shift) - 1, _FREE)
    nearest = [round(slope * 2**shift) for slope in slopes]
    for step_a, step_b in _NEAR:
        slope_a, slope_b = nearest[0] + step_a, nearest[1] + step_b
        linear = slope_a * codes[:, None] + slope_b * codes
        low, high = int((least - linear).max()), int((most - linear).min())
        if low <= high:
            offset = min(max(round((centre + 0.5) * 2**shift), low), high)
            return Affine((slope_a, slope_b), offset, shift)
    return None
