from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.ops.harness import assert_c_equals_reference, inferred, single
from tests.ops.random_unary import random_quant, random_shape
from toolchain.ir import DType, Graph, Quant, Tensor, run
from toolchain.ops import LogSoftmax

FIXED = Quant.per_tensor(2.0**-4, 127)


def log_softmax(shape: tuple[int, ...], quant: Quant) -> Graph:
    x = Tensor("x", shape, DType.INT8, quant)
    y = Tensor("y", (), DType.INT8, FIXED)
    return single(LogSoftmax(), [x], [inferred(LogSoftmax(), [x], y)])


def random_log_softmax(rng: np.random.Generator) -> Graph:
    shape = (*random_shape(rng, 3), int(rng.integers(1, 40)))
    return log_softmax(shape, random_quant(rng))


def log_softmax_of_floats(rng: np.random.Generator) -> Graph:
    shape = (*random_shape(rng, 3), int(rng.integers(1, 40)))
    x, y = (Tensor(name, shape, DType.FLOAT32) for name in "xy")
    return single(LogSoftmax(), [x], [y])


def test_c_equals_reference_in_float32(tmp_path: Path) -> None:
    assert_c_equals_reference(log_softmax_of_floats, tmp_path)


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(random_log_softmax, tmp_path)


def test_is_within_one_step_of_the_real_function() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(-128, 128, (20, 10), dtype=np.int8)
    (y,) = run(log_softmax((20, 10), Quant.per_tensor(0.06, 5)), [values])
    real = 0.06 * values.astype(float)
    exact = 16 * (real - np.log(np.exp(real).sum(axis=-1, keepdims=True))) + 127
    assert np.abs(y - np.clip(exact, -128, 127)).max() <= 1
