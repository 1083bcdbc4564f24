from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.ops.harness import assert_c_equals_reference, inferred, single
from tests.ops.random_movement import random_type, tensor
from tests.ops.random_operands import ints, pair
from toolchain.ir import Graph, Tensor
from toolchain.ops import ResizeNearest


def random_resize_nearest(rng: np.random.Generator) -> Graph:
    x = tensor(rng, "x", (int(rng.integers(1, 3)), *ints(rng, 1, 8, 3)), random_type(rng))
    op = ResizeNearest(pair(rng, 1, 16), bool(rng.integers(2)), bool(rng.integers(2)))
    return single(op, [x], [inferred(op, [x], Tensor("y", (), x.dtype, x.quant))])


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(random_resize_nearest, tmp_path)
