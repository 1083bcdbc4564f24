from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.ops.harness import assert_c_equals_reference, inferred, single
from tests.ops.on_host import run_on_host
from tests.ops.random_unary import random_quant, random_shape
from toolchain.errors import ModelError
from toolchain.ir import DType, Graph, Quant, Tensor, run
from toolchain.ops import Softmax

FIXED = Quant.per_tensor(2.0**-8, -128)


def softmax(shape: tuple[int, ...], quant: Quant, beta: float = 1.0) -> Graph:
    op, x = Softmax(beta), Tensor("x", shape, DType.INT8, quant)
    return single(op, [x], [inferred(op, [x], Tensor("y", (), DType.INT8, FIXED))])


def random_softmax(rng: np.random.Generator) -> Graph:
    beta = float(np.float32(rng.choice([1.0, 1.0, 0.3, 7.5])))
    return softmax((*random_shape(rng, 3), int(rng.integers(1, 40))), random_quant(rng), beta)


def softmax_of_floats(rng: np.random.Generator) -> Graph:
    shape = (*random_shape(rng, 3), int(rng.integers(1, 40)))
    x, y = (Tensor(name, shape, DType.FLOAT32) for name in "xy")
    return single(Softmax(float(np.float32(rng.choice([1.0, 1.0, 0.3, 7.5])))), [x], [y])


def test_c_equals_reference_in_float32(tmp_path: Path) -> None:
    assert_c_equals_reference(softmax_of_floats, tmp_path)


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(random_softmax, tmp_path)


def test_is_within_one_step_of_the_real_function() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(-128, 128, (20, 10), dtype=np.int8)
    (y,) = run(softmax((20, 10), Quant.per_tensor(0.04, 5)), [values])
    power = np.exp(0.04 * values.astype(float))
    exact = 256 * power / power.sum(axis=-1, keepdims=True) - 128
    assert np.abs(y - np.minimum(exact, 127)).max() <= 1


@pytest.mark.parametrize("depth", [255, 256, 511, 512, 4095])
def test_rows_of_equal_elements(depth: int, tmp_path: Path) -> None:
    graph = softmax((1, depth), Quant.per_tensor(0.1))
    x = np.zeros((1, depth), np.int8)
    (expected,) = run(graph, [x])
    np.testing.assert_array_equal(run_on_host(graph, [x], tmp_path)[0], expected)
    assert np.abs(expected.astype(float) + 128 - 256 / depth).max() <= 1


def test_rows_that_would_overflow_are_refused() -> None:
    with pytest.raises(ModelError, match="at most 4095"):
        softmax((1, 4096), Quant.per_tensor(0.1))
