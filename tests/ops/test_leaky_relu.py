from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.ops.harness import assert_c_equals_reference, inferred, single
from tests.ops.random_unary import random_shape, random_unary, random_zero
from toolchain.ir import DType, Graph, Quant, Tensor, run
from toolchain.ops import LeakyRelu


def random_leaky_relu(rng: np.random.Generator) -> Graph:
    """Half of the scales are in ratios of small integers: their many near ties tell roundings."""
    op = LeakyRelu(float(np.float32(rng.choice([0.01, 0.1, 0.2, 0.3, -0.5, 1.7]))))
    if rng.integers(2):
        return random_unary(rng, op)
    y = Tensor("y", (), DType.INT8, Quant.per_tensor(rng.uniform(0.01, 0.2), random_zero(rng)))
    ratio = rng.integers(1, 12) / (2 * rng.integers(1, 12)) / rng.choice([1, abs(op.alpha)])
    quant = Quant.per_tensor(y.scale * ratio, random_zero(rng))
    x = Tensor("x", random_shape(rng), DType.INT8, quant)
    return single(op, [x], [inferred(op, [x], y)])


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
