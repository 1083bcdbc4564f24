"""exp and log of float32, in double arithmetic whose order is fixed.

Every step is one IEEE 754 operation on doubles, so that numpy and the C twin, ``tsr_exp_log.h``,
give the same bits on every machine. Method and coefficients are those of Arm's optimised routines,
which the common C libraries (glibc from 2.27, musl, newlib) call ``expf`` and ``logf``: a table of
powers or of logarithms, and a short polynomial. Errors are below 0.51 and 0.82 units in the last
place. Reference: P.-T. P. Tang, "Table-Driven Implementation of the Exponential Function in IEEE
Floating-Point Arithmetic", ACM TOMS 15(2), 1989, and the same of the logarithm, ACM TOMS 16(4).
"""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]

_LEAST_EXPONENT = -104.0  # exp is below half the least float32
_INTEGER = float.fromhex("0x1.8p+52")  # adding it rounds to an integer, in the low bits
_STEPS = 32  # of the exponential's table, per power of two
_STEPS_PER_UNIT = float.fromhex("0x1.71547652b82fep+5")  # 32 / ln 2
_CUBIC, _SQUARE, _LINEAR = (
    float.fromhex("0x1.c6af84b912394p-20"),
    float.fromhex("0x1.ebfce50fac4f3p-13"),
    float.fromhex("0x1.62e42ff0c52d6p-6"),
)  # of 2**(r / 32)
_POWERS = np.array([float(Decimal(2) ** (Decimal(i) / _STEPS)) for i in range(_STEPS)])

_ORIGIN = 0x3F330000  # bits of the float32 from which mantissas are counted, 0.699
_LN2 = float.fromhex("0x1.62e42fefa39efp-1")
_QUARTIC_LOG, _CUBIC_LOG, _SQUARE_LOG = (
    float.fromhex("-0x1.00ea348b88334p-2"),
    float.fromhex("0x1.5575b0be00b6ap-2"),
    float.fromhex("-0x1.ffffef20a4123p-2"),
)  # of log(1 + r)
_CENTRES = np.array(
    [
        [float.fromhex(value) for value in line.split()]
        for line in """
        0x1.661ec79f8f3bep+0 -0x1.57bf7808caadep-2
        0x1.571ed4aaf883dp+0 -0x1.2bef0a7c06ddbp-2
        0x1.49539f0f010bp+0 -0x1.01eae7f513a67p-2
        0x1.3c995b0b80385p+0 -0x1.b31d8a68224e9p-3
        0x1.30d190c8864a5p+0 -0x1.6574f0ac07758p-3
        0x1.25e227b0b8eap+0 -0x1.1aa2bc79c81p-3
        0x1.1bb4a4a1a343fp+0 -0x1.a4e76ce8c0e5ep-4
        0x1.12358f08ae5bap+0 -0x1.1973c5a611cccp-4
        0x1.0953f419900a7p+0 -0x1.252f438e10c1ep-5
        0x1p+0 0x0p+0
        0x1.e608cfd9a47acp-1 0x1.aa5aa5df25984p-5
        0x1.ca4b31f026aap-1 0x1.c5e53aa362eb4p-4
        0x1.b2036576afce6p-1 0x1.526e57720db08p-3
        0x1.9c2d163a1aa2dp-1 0x1.bc2860d22477p-3
        0x1.886e6037841edp-1 0x1.1058bc8a07ee1p-2
        0x1.767dcf5534862p-1 0x1.4043057b6ee09p-2
        """.strip().splitlines()
    ]
)  # reciprocal of each sixteenth's centre, and the centre's logarithm


def exp(x: Float32) -> Float32:
    """Return ``exp(x)`` for x of 0 or less; not a number gives itself."""
    inside = np.where(x >= _LEAST_EXPONENT, x, 0).astype(np.float64)
    steps = inside * _STEPS_PER_UNIT
    shifted = steps + _INTEGER
    r = steps - (shifted - _INTEGER)
    whole = shifted.view(np.int64).astype(np.int32)
    scale = np.ldexp(_POWERS[whole % _STEPS], whole // _STEPS)
    y = (_CUBIC * r + _SQUARE) * (r * r) + (_LINEAR * r + 1.0)
    result: Float32 = (y * scale).astype(np.float32)
    return np.where(x >= _LEAST_EXPONENT, result, np.where(np.isnan(x), x, np.float32(0)))


def log(x: Float32) -> Float32:
    """Return ``log(x)`` for x of 1 or more; 0 gives minus infinity, not a number itself."""
    bits = np.where(x >= 1, x, np.float32(1)).astype(np.float32).view(np.int32)
    offset = bits - _ORIGIN
    exponent = offset >> 23
    reciprocal, logarithm = np.moveaxis(_CENTRES[(offset >> 19) % 16], -1, 0)
    mantissa = (bits - (exponent << 23)).view(np.float32).astype(np.float64)
    r = mantissa * reciprocal - 1.0
    head = (logarithm + exponent * _LN2) + r
    y = (_QUARTIC_LOG * (r * r) + (_CUBIC_LOG * r + _SQUARE_LOG)) * (r * r) + head
    outside = np.where(x == 0, np.float32(-np.inf), x)
    return np.where(x >= 1, y.astype(np.float32), outside)
