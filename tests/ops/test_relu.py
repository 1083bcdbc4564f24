from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.ops.harness import assert_c_equals_reference, single
from tests.ops.random_unary import random_unary
from toolchain.ir import DType, Graph, Quant, Tensor, run
from toolchain.numerics import Activation
from toolchain.ops import Relu

RANGES = [Activation.RELU, Activation.RELU6, Activation.RELU_N1_TO_1]


def random_relu(rng: np.random.Generator) -> Graph:
    return random_unary(rng, Relu(RANGES[int(rng.integers(3))]))


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(random_relu, tmp_path)


@pytest.mark.parametrize("activation", RANGES)
def test_equal_scales_only_clamp(activation: Activation) -> None:
    quant = Quant.per_tensor(0.0625, -5)
    x, y = (Tensor(name, (256,), DType.INT8, quant) for name in "xy")
    values = np.arange(-128, 128).astype(np.int8)
    (got,) = run(single(Relu(activation), [x], [y]), [values])
    low, high = (np.clip(bound / 0.0625 - 5, -128, 127) for bound in activation.value)
    np.testing.assert_array_equal(got, np.clip(values, low, high))
