from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.ops.harness import assert_c_equals_reference, single
from tests.ops.random_unary import random_unary
from toolchain.ir import Array, DType, Graph, Quant, Tensor, run
from toolchain.ops import Gelu


def random_gelu(rng: np.random.Generator) -> Graph:
    return random_unary(rng, Gelu(bool(rng.integers(2))))


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(random_gelu, tmp_path)


def normal_below(x: Array) -> Array:
    """Return the integral of the normal distribution, by small steps."""
    grid = np.linspace(-12, 12, 2_000_001)
    density = np.exp(-(grid**2) / 2)
    return np.interp(x, grid, np.cumsum(density) / density.sum())


def test_is_within_one_step_of_the_real_function() -> None:
    x = Tensor("x", (256,), DType.INT8, Quant.per_tensor(0.03, 3))
    y = Tensor("y", (256,), DType.INT8, Quant.per_tensor(0.04, -20))
    values = np.arange(-128, 128).astype(np.int8)
    real = 0.03 * (values.astype(float) - 3)
    (got,) = run(single(Gelu(), [x], [y]), [values])
    exact = real * normal_below(real) / 0.04 - 20
    assert np.abs(got - np.clip(exact, -128, 127)).max() <= 0.51
