from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np

from tests.ops.harness import assert_c_equals_reference, single
from tests.ops.random_movement import random_tensor
from tests.ops.random_operands import ints
from toolchain.ir import Graph, Operands, Tensor
from toolchain.ops import Split


def random_split(rng: np.random.Generator) -> Graph:
    x = random_tensor(rng)
    axis = int(rng.integers(len(x.shape)))
    cuts = sorted({0, x.shape[axis], *ints(rng, 0, x.shape[axis], 2)})
    op = Split(axis, tuple(b - a for a, b in pairwise(cuts)))
    types = op.infer(Operands((x,), ()))
    outputs = [Tensor(f"y{i}", t.shape, t.dtype, x.quant) for i, t in enumerate(types)]
    return single(op, [x], outputs)


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(random_split, tmp_path)
