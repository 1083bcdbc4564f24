from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.ops.harness import assert_c_equals_reference, single
from tests.ops.random_unary import random_unary
from toolchain.errors import ModelError
from toolchain.ir import DType, Graph, Quant, Tensor, run
from toolchain.ops import Tanh

FIXED = Quant.per_tensor(2.0**-7, 0)


def random_tanh(rng: np.random.Generator) -> Graph:
    return random_unary(rng, Tanh(), FIXED)


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(random_tanh, tmp_path)


def test_is_within_one_step_of_the_real_function() -> None:
    x = Tensor("x", (256,), DType.INT8, Quant.per_tensor(0.02, -7))
    values = np.arange(-128, 128).astype(np.int8)
    (y,) = run(single(Tanh(), [x], [Tensor("y", (256,), DType.INT8, FIXED)]), [values])
    exact = 128 * np.tanh(0.02 * (values.astype(float) + 7))
    assert np.abs(y - np.clip(exact, -128, 127)).max() <= 1


def test_another_output_scale_is_refused() -> None:
    x = Tensor("x", (4,), DType.INT8, Quant.per_tensor(0.1))
    with pytest.raises(ModelError, match="the output must have scale"):
        single(Tanh(), [x], [Tensor("y", (4,), DType.INT8, Quant.per_tensor(0.1))])
