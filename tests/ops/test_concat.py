from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.ops.harness import assert_c_equals_reference, inferred, random_values, single
from tests.ops.random_movement import random_type, tensor
from tests.ops.random_operands import int8_tensor, ints
from toolchain.errors import ModelError
from toolchain.ir import Graph, Operands, Tensor, constant
from toolchain.ops import Concat


def random_concat(rng: np.random.Generator) -> Graph:
    dtype, rank = random_type(rng), int(rng.integers(1, 5))
    shape, axis = ints(rng, 1, 5, rank), int(rng.integers(rank))
    y = tensor(rng, "y", (), dtype)
    inputs = []
    for index in range(int(rng.integers(1, 5))):
        sizes = (*shape[:axis], int(rng.integers(1, 5)), *shape[axis + 1 :])
        x = Tensor(f"x{index}", sizes, dtype, y.quant)
        if index and rng.integers(3) == 0:
            x = constant(x.name, random_values(x, rng), x.quant)
        inputs.append(x)
    op = Concat(axis)
    return single(op, inputs, [inferred(op, inputs, y)])


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(random_concat, tmp_path)


def test_inputs_of_another_scale_are_refused() -> None:
    x = int8_tensor(np.random.default_rng(0), "x", (2, 3))
    y = int8_tensor(np.random.default_rng(1), "y", (4, 3))
    with pytest.raises(ModelError, match="quantisation"):
        Concat(0).infer(Operands((x, x), (y,)))
