from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.ops.harness import assert_c_equals_reference, inferred, random_values, single
from tests.ops.random_movement import random_type, tensor
from tests.ops.random_operands import ints
from toolchain.ir import Graph, constant
from toolchain.ops import Pack


def random_pack(rng: np.random.Generator) -> Graph:
    dtype, rank = random_type(rng), int(rng.integers(0, 4))
    shape = ints(rng, 1, 5, rank)
    inputs = []
    for index in range(int(rng.integers(1, 5))):
        x = tensor(rng, f"x{index}", shape, dtype)
        if index and rng.integers(3) == 0:
            x = constant(x.name, random_values(x, rng), x.quant)
        inputs.append(x)
    op = Pack(int(rng.integers(rank + 1)))
    return single(op, inputs, [inferred(op, inputs, tensor(rng, "y", (), dtype))])


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(random_pack, tmp_path)
