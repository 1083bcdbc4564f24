from __future__ import annotations

import numpy as np
import pytest

from toolchain.numerics import Int64
from toolchain.ops.affine import Affine, fit_affine

CODES = np.arange(-128, 128, dtype=np.int64)


def evaluate(form: Affine) -> Int64:
    """Return all 65536 outputs in the arithmetic of C, where nothing may leave int32."""
    total = form.slopes[0] * CODES[:, None] + form.slopes[1] * CODES + form.offset
    assert np.abs(total).max() < 2**31
    shifted: Int64 = total >> form.shift
    return shifted


def rounded(slopes: tuple[float, float], centre: float, a: Int64, b: Int64) -> Int64:
    return np.floor(slopes[0] * a + slopes[1] * b + centre + 0.5).astype(np.int64)


@pytest.mark.parametrize("seed", range(50))
def test_a_rounded_plane_is_met_exactly(seed: int) -> None:
    rng = np.random.default_rng(seed)
    slopes = (float(rng.normal(0, 1)), float(rng.normal(0, 1)))
    centre, bounds = float(rng.normal(0, 60)), (int(rng.integers(-128, 0)), 127)
    form = fit_affine(lambda a, b: rounded(slopes, centre, a, b), slopes, centre, bounds)
    assert form is not None
    expected = rounded(slopes, centre, CODES[:, None], CODES)
    np.testing.assert_array_equal(np.clip(evaluate(form), *bounds), np.clip(expected, *bounds))


def test_one_pair_off_the_plane_has_no_form() -> None:
    def dented(a: Int64, b: Int64) -> Int64:
        return rounded((0.4, 0.3), 0.0, a, b) + np.where((a == 3) & (b == -7), 5, 0)

    assert fit_affine(dented, (0.4, 0.3), 0.0, (-128, 127)) is None


def test_an_output_far_finer_than_the_inputs_has_no_form() -> None:
    def steep(a: Int64, b: Int64) -> Int64:
        return (a + b) << 20

    assert fit_affine(steep, (2.0**20, 2.0**20), 0.0, (-128, 127)) is None
