from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.ops.harness import assert_c_equals_reference, inferred, single
from tests.ops.random_unary import random_quant, random_shape
from toolchain.ir import DType, Graph, Quant, Tensor, run
from toolchain.ops import HardSwish


def random_hard_swish(rng: np.random.Generator) -> Graph:
    x = Tensor("x", random_shape(rng), DType.INT8, random_quant(rng, 1e-3, 3))
    zero = int(rng.integers(-128, 128))
    y = Tensor("y", (), DType.INT8, Quant.per_tensor(x.scale * rng.uniform(0.1, 4), zero))
    return single(HardSwish(), [x], [inferred(HardSwish(), [x], y)])


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(random_hard_swish, tmp_path)


def test_is_within_one_step_of_the_real_function() -> None:
    x = Tensor("x", (256,), DType.INT8, Quant.per_tensor(0.05, 3))
    y = Tensor("y", (256,), DType.INT8, Quant.per_tensor(0.05, -100))
    values = np.arange(-128, 128).astype(np.int8)
    (got,) = run(single(HardSwish(), [x], [y]), [values])
    real = 0.05 * (values.astype(float) - 3)
    exact = real * np.clip(real + 3, 0, 6) / 6 / 0.05 - 100
    assert np.abs(got - np.clip(exact, -128, 127)).max() <= 1
