from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.ops.harness import assert_c_equals_reference, single
from tests.ops.random_unary import random_unary
from toolchain.ir import DType, Graph, Quant, Tensor, run
from toolchain.ops import Rsqrt


def random_rsqrt(rng: np.random.Generator) -> Graph:
    return random_unary(rng, Rsqrt())


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(random_rsqrt, tmp_path)


def test_is_within_one_step_of_the_real_function() -> None:
    x = Tensor("x", (256,), DType.INT8, Quant.per_tensor(0.03, -128))
    y = Tensor("y", (256,), DType.INT8, Quant.per_tensor(0.02, -100))
    values = np.arange(-128, 128).astype(np.int8)
    real = 0.03 * (values.astype(float) + 128)
    (got,) = run(single(Rsqrt(), [x], [y]), [values])
    exact = np.minimum(1 / np.sqrt(np.maximum(real, 1e-9)) / 0.02 - 100, 127)
    assert np.abs(got - exact).max() <= 0.51
