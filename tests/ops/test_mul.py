from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.ops.harness import assert_c_equals_reference, inferred, random_values, single
from tests.ops.on_host import run_on_host
from tests.ops.random_binary import assert_near_real, random_binary
from tests.ops.random_operands import random_activation
from tests.ops.random_unary import random_quant
from toolchain.ir import DType, Graph, Tensor, run
from toolchain.ops import Mul


def random_mul(rng: np.random.Generator) -> Graph:
    return random_binary(rng, Mul(random_activation(rng)))


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(random_mul, tmp_path)


def test_is_within_one_step_of_the_real_function() -> None:
    for seed in range(50):
        assert_near_real(Mul(), lambda a, b: a * b, seed)


def test_a_tensor_times_itself(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = (Tensor(name, (3, 7), DType.INT8, random_quant(rng)) for name in "xy")
    graph = single(Mul(), [x, x], [inferred(Mul(), [x, x], y)])
    values = random_values(x, rng)
    (expected,) = run(graph, [values])
    np.testing.assert_array_equal(run_on_host(graph, [values], tmp_path)[0], expected)
