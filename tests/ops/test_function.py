from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from tests.ops.harness import assert_c_equals_reference, single
from tests.ops.random_unary import random_unary
from toolchain.error_function import erfc
from toolchain.errors import ModelError
from toolchain.ir import DType, Graph, Quant, Tensor, run
from toolchain.ops import Function
from toolchain.ops.function import CURVES


def any_function(rng: np.random.Generator) -> Function:
    kind = str(rng.choice(list(CURVES)))
    parameters = (float(value) for value in rng.uniform(0.2, 2, len(CURVES[kind].parameters)))
    return Function(kind, tuple(parameters))


def random_function(rng: np.random.Generator) -> Graph:
    return random_unary(rng, any_function(rng))


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(random_function, tmp_path)


def test_what_is_no_number_is_zero_and_what_is_infinite_saturates() -> None:
    x = Tensor("x", (3,), DType.INT8, Quant.per_tensor(0.5, 0))
    y = Tensor("y", (3,), DType.INT8, Quant.per_tensor(0.1, 5))
    graph = single(Function("power", (-0.5,)), [x], [y])
    assert run(graph, [np.array([-2, 0, 2], np.int8)])[0].tolist() == [5, 127, 15]


@pytest.mark.parametrize(
    "op",
    [Function("swirl"), Function("mish", (1.0,)), Function("power"), Function("power", (np.inf,))],
)
def test_refuses_what_is_no_function(op: Function) -> None:
    x = Tensor("x", (3,), DType.INT8, Quant.per_tensor(0.5, 0))
    with pytest.raises(ModelError, match="function"):
        single(op, [x], [Tensor("y", (3,), DType.INT8, x.quant)])


def test_the_error_function_of_arrays_is_that_of_numbers() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(0, 3, 40_000), np.linspace(-12, 30, 10_001), [np.inf, -np.inf]])
    exact = np.array([math.erfc(value) for value in x.astype(np.float32).tolist()], np.float32)
    distance = np.abs(erfc(x.astype(np.float32)).view(np.int32) - exact.view(np.int32))
    assert distance.max() <= 1
    assert np.count_nonzero(distance) <= 2
    assert np.isnan(erfc(np.array([np.nan], np.float32))).all()
