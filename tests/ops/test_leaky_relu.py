from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.ops.harness import assert_c_equals_reference, single
from tests.ops.random_unary import random_unary
from toolchain.ir import DType, Graph, Quant, Tensor, run
from toolchain.ops import LeakyRelu


def random_leaky_relu(rng: np.random.Generator) -> Graph:
    return random_unary(rng, LeakyRelu(float(np.float32(rng.choice([0.01, 0.2, -0.5, 1.7])))))


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(random_leaky_relu, tmp_path)


def test_is_within_one_step_of_the_real_function() -> None:
    x = Tensor("x", (256,), DType.INT8, Quant.per_tensor(0.05, 3))
    y = Tensor("y", (256,), DType.INT8, Quant.per_tensor(0.04, -9))
    values = np.arange(-128, 128).astype(np.int8)
    (got,) = run(single(LeakyRelu(0.25), [x], [y]), [values])
    real = 0.05 * (values.astype(float) - 3)
    exact = np.where(real < 0, 0.25 * real, real) / 0.04 - 9
    assert np.abs(got - np.clip(exact, -128, 127)).max() <= 1
