from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.ops.harness import assert_c_equals_reference, inferred, single
from tests.ops.random_unary import random_quant, random_shape
from toolchain.errors import ModelError
from toolchain.ir import DType, Graph, Tensor, run
from toolchain.ops import ArgMax


def random_arg_max(rng: np.random.Generator) -> Graph:
    shape = random_shape(rng)
    op = ArgMax(int(rng.integers(-len(shape), len(shape))))
    x = Tensor("x", shape, DType.INT8, random_quant(rng))
    y = Tensor("y", (), DType.INT32 if rng.integers(2) else DType.INT64)
    return single(op, [x], [inferred(op, [x], y)])


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(random_arg_max, tmp_path)


def test_the_first_of_equals_wins() -> None:
    x = Tensor("x", (2, 4), DType.INT8)
    graph = single(ArgMax(1), [x], [Tensor("y", (2,), DType.INT32)])
    (y,) = run(graph, [np.array([[1, 5, 5, 0], [7, 7, 7, 7]], np.int8)])
    np.testing.assert_array_equal(y, [1, 0])


def test_an_axis_out_of_range_is_refused() -> None:
    with pytest.raises(ModelError, match="axis 2"):
        single(ArgMax(2), [Tensor("x", (2, 4), DType.INT8)], [Tensor("y", (2,), DType.INT32)])
