from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.ops.harness import assert_c_equals_reference, inferred, random_values, single
from tests.ops.random_movement import random_type, tensor
from tests.ops.random_operands import ints
from toolchain.ir import Graph, constant
from toolchain.ops import Concat


def random_concat(rng: np.random.Generator) -> Graph:
    dtype, rank = random_type(rng), int(rng.integers(1, 5))
    shape, axis = ints(rng, 1, 5, rank), int(rng.integers(rank))
    inputs = []
    for index in range(int(rng.integers(1, 5))):
        sizes = (*shape[:axis], int(rng.integers(1, 5)), *shape[axis + 1 :])
        x = tensor(rng, f"x{index}", sizes, dtype)
        if index and rng.integers(3) == 0:
            x = constant(x.name, random_values(x, rng), x.quant)
        inputs.append(x)
    op = Concat(axis)
    return single(op, inputs, [inferred(op, inputs, tensor(rng, "y", (), dtype))])


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(random_concat, tmp_path)
