from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.ops.harness import assert_c_equals_reference, single
from tests.ops.random_unary import random_unary
from toolchain.ir import DType, Graph, Quant, Tensor, run
from toolchain.ops import Erf


def random_erf(rng: np.random.Generator) -> Graph:
    return random_unary(rng, Erf())


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(random_erf, tmp_path)


def test_is_within_one_step_of_the_real_function() -> None:
    x = Tensor("x", (256,), DType.INT8, Quant.per_tensor(0.02, 3))
    y = Tensor("y", (256,), DType.INT8, Quant.per_tensor(1 / 127, 0))
    values = np.arange(-128, 128).astype(np.int8)
    grid = np.linspace(-4, 4, 800_001)
    density = 2 / np.sqrt(np.pi) * np.exp(-(grid**2))
    integral = np.concatenate(
        [[0], np.cumsum((density[1:] + density[:-1]) / 2) * (grid[1] - grid[0])]
    )
    exact = np.interp(0.02 * (values.astype(float) - 3), grid, integral - integral[400_000]) * 127
    (got,) = run(single(Erf(), [x], [y]), [values])
    assert np.abs(got - np.clip(exact, -128, 127)).max() <= 0.51
