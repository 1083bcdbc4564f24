"""Transcendental functions in fixed point, as TFLite's reference kernels compute them.

Numbers are int64 arrays that hold int32 raw values in the format Qm.n (m integer bits, a sign and
n = 31 - m fractional bits). Every product is a saturating rounding doubling high multiply, so that
Qa times Qb is Q(a+b). The functions are evaluated while compiling, to fill tables; where a network
needs one at run time, its C twin is in ``tsr_fixed.h``.

Reference: gemmlowp ``fixedpoint.h`` (exp, tanh, logistic by Newton's division); TensorFlow Lite
``log_x_for_x_greater_than_or_equal_to_1``.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from toolchain.ir.tensor import Array
from toolchain.numerics import Int64, doubling_high_multiply, rounding_shift_right

_INT32_MAX = 2**31 - 1
_ONE = _INT32_MAX  # 1.0 in Q0, saturated
# exp(-2**k) in Q0 for k = -2 ... 4.
_EXP_OF_POWERS = tuple(round(math.exp(-(2.0**k)) * 2**31) for k in range(-2, 5))
_EXP_MINUS_EIGHTH = round(math.exp(-1 / 8) * 2**31)
_ONE_THIRD = round(2**31 / 3)


def exp_on_negative_values(x: Array, integer_bits: int) -> Int64:
    """Return ``exp(x)`` in Q0 for ``x <= 0`` in Q``integer_bits`` (at most 5).

    The fraction below a quarter goes through a Taylor series, every higher bit through a factor.
    """
    quarter = 1 << (29 - integer_bits)
    x = np.asarray(x, dtype=np.int64)
    fraction = (x & (quarter - 1)) - quarter
    result = _exp_between_minus_quarter_and_0(fraction << integer_bits)
    remainder = fraction - x
    for position, factor in enumerate(_EXP_OF_POWERS[: integer_bits + 2]):
        bit = remainder & (quarter << position)
        result = np.where(bit != 0, doubling_high_multiply(result, factor), result)
    return np.where(x == 0, _ONE, result)


def logistic(x: Array, integer_bits: int) -> Int64:
    """Return ``1 / (1 + exp(-x))`` in Q0 for ``x`` in Q``integer_bits``."""
    x = np.asarray(x, dtype=np.int64)
    positive = one_over_one_plus(exp_on_negative_values(-np.abs(x), integer_bits))
    return np.where(x == 0, 1 << 30, np.where(x > 0, positive, _ONE - positive))


def tanh(x: Array, integer_bits: int) -> Int64:
    """Return ``tanh(x)`` in Q0 for ``x`` in Q``integer_bits`` (at most 4)."""
    x = np.asarray(x, dtype=np.int64)
    # The raw value of -|x| read with one integer bit more is -2|x|.
    power = exp_on_negative_values(-np.abs(x), integer_bits + 1)
    magnitude = _saturating_shift_left(_two_over_one_plus(power) - (1 << 29), 2)
    return np.sign(x) * magnitude


def one_over_one_plus(x: Array) -> Int64:
    """Return ``1 / (1 + x)`` in Q0 for ``0 <= x < 1`` in Q0."""
    return _saturating_shift_left(_two_over_one_plus(x), 1)


def reciprocal(x: Array, integer_bits: int) -> tuple[Int64, Int64]:
    """Return the mantissa (Q0) and exponent of ``1 / x`` for ``x > 0`` in Q``integer_bits``.

    Returns:
        ``m`` and ``e`` with ``1 / x = m * 2**-e``.
    """
    x = np.asarray(x, dtype=np.int64)
    zeros = leading_zeros(x)
    return one_over_one_plus((x << zeros) - 2**31), integer_bits - zeros


def log(x: Array, integer_bits: int, output_bits: int) -> Int64:
    """Return ``ln(x)`` in Q``output_bits`` for ``x >= 1`` in Q``integer_bits``.

    ``x`` is split into a power of two and a mantissa near sqrt(sqrt(1/2)), whose logarithm is a
    rational approximation around that point.
    """
    x = np.asarray(x, dtype=np.int64)
    multiply = doubling_high_multiply
    root_half = round(math.sqrt(0.5) * 2**31)
    unit, quarter = 1 << (30 - output_bits), 1 << (28 - output_bits)
    zeros_a = leading_zeros(x)
    mantissa_a = multiply(_saturating_shift_left(x, zeros_a - 1), root_half) << 1
    zeros_b = leading_zeros(multiply(x, root_half)) - 1
    mantissa_b = _saturating_shift_left(x, zeros_b)
    mantissa = np.minimum(np.minimum(mantissa_a, _INT32_MAX), mantissa_b)
    power = np.maximum(
        (integer_bits - zeros_a) * unit + quarter, (integer_bits - zeros_b) * unit - quarter
    )
    fraction = _log_of_mantissa(mantissa, output_bits + 1)
    return _saturating_shift_left(multiply(power, round(math.log(2) * 2**31)) + fraction, 1)


def inverse_root(x: Array) -> tuple[Int64, Int64]:
    """Return the mantissa (30 fractional bits) and exponent of ``1 / sqrt(x)``, ``0 < x < 2**62``.

    Four Newton-Raphson steps ``r = r * (3 - v * r**2) / 2`` from a line through the mantissa
    ``v = x * 4**-e`` between a quarter and one, cut to 32 bits; every product is rounded down.

    Returns:
        ``m`` and ``e`` with ``1 / sqrt(x) = m * 2**-(30 + e)`` and ``2**30 <= m < 2**31``, which is
        off by less than 2.
    """
    wide = np.asarray(x, dtype=np.uint64)
    exponent = (_bit_length(wide) + 1) // 2
    up = 32 - 2 * exponent
    v = (wide << np.maximum(up, 0).astype(np.uint64)) >> np.maximum(-up, 0).astype(np.uint64)
    root = np.uint64(round(2.2 * 2**30)) - ((v * np.uint64(round(0.325 * 2**32))) >> np.uint64(32))
    for _ in range(4):
        product = (v * ((root * root) >> np.uint64(30))) >> np.uint64(32)
        root = (root * (np.uint64(3 << 30) - product)) >> np.uint64(31)
    return root.astype(np.int64), exponent


def _bit_length(x: npt.NDArray[np.uint64]) -> Int64:
    high = 32 - leading_zeros(x >> np.uint64(32))
    low = 32 - leading_zeros(x & np.uint64(2**32 - 1))
    return np.where(high > 0, 32 + high, low)


def leading_zeros(x: Array) -> Int64:
    """Return the number of leading zero bits of 32-bit values, 32 for 0."""
    _, bits = np.frexp(np.asarray(x, dtype=np.float64))
    return 32 - bits.astype(np.int64)


def _log_of_mantissa(r: Int64, integer_bits: int) -> Int64:
    multiply = doubling_high_multiply
    fourth_root = math.sqrt(math.sqrt(2))
    centre = round(2**31 / fourth_root)
    alpha_n, alpha_d = round(11 / 240 * fourth_root * 2**31), round(fourth_root / 20 * 2**31)
    alpha_i = round((2 / fourth_root - fourth_root) * 2**31)
    alpha_f = round(fourth_root / 4 * 2**31)
    p = _half_sum(r, centre)
    q: Int64 = 2 * (r - centre)
    square = multiply(q, q)
    numerator = multiply(q, r) + multiply(multiply(q, square), alpha_n)
    inner: Int64 = alpha_i + q + multiply(square, alpha_d)
    denominator_minus_one = multiply(p, inner) + multiply(q, alpha_f)
    scaled = rounding_shift_right(numerator, integer_bits)
    return multiply(scaled, one_over_one_plus(denominator_minus_one))


def _exp_between_minus_quarter_and_0(a: Int64) -> Int64:
    multiply = doubling_high_multiply
    x = a + (1 << 28)
    x2 = multiply(x, x)
    x3, x4 = multiply(x2, x), multiply(x2, x2)
    cubic = multiply(rounding_shift_right(x4, 2) + x3, _ONE_THIRD)
    series = x + rounding_shift_right(cubic + x2, 1)
    return _EXP_MINUS_EIGHTH + multiply(series, _EXP_MINUS_EIGHTH)


def _two_over_one_plus(x: Array) -> Int64:
    """Return ``2 / (1 + x)`` in Q2 by three Newton-Raphson steps on the half denominator."""
    multiply = doubling_high_multiply
    half = _half_sum(x, _ONE)
    guess = round(48 / 17 * 2**29) + multiply(half, -round(32 / 17 * 2**29))
    for _ in range(3):
        error = (1 << 29) - multiply(half, guess)
        guess = guess + _saturating_shift_left(multiply(guess, error), 2)
    return guess


def _half_sum(a: Array, b: int) -> Int64:
    """Return ``(a + b) / 2`` of a positive sum, half rounded up."""
    half: Int64 = (np.asarray(a, dtype=np.int64) + b + 1) >> 1
    return half


def _saturating_shift_left(x: Array, bits: Array | int) -> Int64:
    shifted: Int64 = np.asarray(x, dtype=np.int64) << bits
    return np.clip(shifted, -(2**31), _INT32_MAX)
