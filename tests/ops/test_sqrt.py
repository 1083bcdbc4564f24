from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.ops.harness import assert_c_equals_reference, single
from tests.ops.random_unary import random_unary
from toolchain.ir import DType, Graph, Quant, Tensor, run
from toolchain.ops import Sqrt


def random_sqrt(rng: np.random.Generator) -> Graph:
    return random_unary(rng, Sqrt())


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(random_sqrt, tmp_path)


def test_is_within_one_step_of_the_real_function() -> None:
    x = Tensor("x", (256,), DType.INT8, Quant.per_tensor(0.03, -128))
    y = Tensor("y", (256,), DType.INT8, Quant.per_tensor(0.04, -20))
    values = np.arange(-128, 128).astype(np.int8)
    real = 0.03 * (values.astype(float) - -128)
    (got,) = run(single(Sqrt(), [x], [y]), [values])
    exact = np.sqrt(real) / 0.04 - 20
    assert np.abs(got - np.clip(exact, -128, 127)).max() <= 0.51
