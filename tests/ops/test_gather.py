from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.ops.harness import assert_c_equals_reference, inferred, single
from tests.ops.random_movement import random_tensor, tensor
from tests.ops.random_operands import ints
from toolchain.ir import DType, Graph, Tensor
from toolchain.ops import Gather


def random_gather(rng: np.random.Generator) -> Graph:
    x = random_tensor(rng)
    if rng.integers(20) == 0:
        x = tensor(rng, "x", ints(rng, 200, 400, 1), DType.INT8)
    axis = int(rng.integers(len(x.shape)))
    indices = rng.integers(0, x.shape[axis], int(rng.integers(1, 9))).tolist()
    op = Gather(axis, tuple(indices))
    return single(op, [x], [inferred(op, [x], Tensor("y", (), x.dtype, x.quant))])


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(random_gather, tmp_path)
