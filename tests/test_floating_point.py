"""exp and log of float32 against correctly rounded values."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from toolchain.floating_point import Float32, exp, log

RNG = np.random.default_rng(0)
CASES = 200_000


def far(exact: Callable[[Float32], Float32], x: Float32, found: Float32) -> tuple[float, float]:
    """Return the greatest error in units in the last place, and how many are not the nearest."""
    real = exact(x.astype(np.float64))
    nearest = real.astype(np.float32)
    error = np.abs(found.astype(np.float64) - real) / np.spacing(np.abs(nearest)).astype(np.float64)
    return float(error.max()), float((found != nearest).mean())


def test_exp_is_almost_correctly_rounded() -> None:
    x = -RNG.exponential(10, CASES).astype(np.float32)
    error, wrong = far(np.exp, x, exp(x))
    assert error < 0.51
    assert wrong < 0.001


def test_log_is_almost_correctly_rounded() -> None:
    x = (10 ** RNG.uniform(0, 9, CASES)).astype(np.float32)
    error, wrong = far(np.log, x, log(x))
    assert error < 0.83
    assert wrong < 0.005


@pytest.mark.parametrize(
    ("function", "x", "y"),
    [
        (exp, 0, 1), (exp, -104.5, 0), (exp, -np.inf, 0), (exp, -103.5, 2.0**-149),
        (exp, np.nan, np.nan), (log, 1, 0), (log, 0, -np.inf), (log, np.nan, np.nan),
    ],
)  # fmt: skip
def test_the_ends_of_the_range(function: Callable[[Float32], Float32], x: float, y: float) -> None:
    np.testing.assert_array_equal(function(np.array([x], np.float32)), np.array([y], np.float32))
