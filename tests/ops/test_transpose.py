from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.ops.harness import assert_c_equals_reference, inferred, single
from tests.ops.random_movement import random_tensor
from toolchain.ir import Graph, Tensor
from toolchain.ops import Transpose


def random_transpose(rng: np.random.Generator) -> Graph:
    x = random_tensor(rng, max_rank=5)
    op = Transpose(tuple(int(axis) for axis in rng.permutation(len(x.shape))))
    return single(op, [x], [inferred(op, [x], Tensor("y", (), x.dtype, x.quant))])


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(random_transpose, tmp_path)
