from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.ops.harness import assert_c_equals_reference, inferred, single
from tests.ops.random_movement import random_tensor
from tests.ops.random_operands import ints
from toolchain.ir import Graph, Tensor
from toolchain.ops import Pad


def random_pad(rng: np.random.Generator) -> Graph:
    x = random_tensor(rng)
    rank = len(x.shape)
    value = int(rng.integers(-100, 100)) if rng.integers(2) else None
    op = Pad(ints(rng, 0, 3, rank), ints(rng, 0, 3, rank), value)
    return single(op, [x], [inferred(op, [x], Tensor("y", (), x.dtype, x.quant))])


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(random_pad, tmp_path)
