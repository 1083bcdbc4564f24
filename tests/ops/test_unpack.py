from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.ops.harness import assert_c_equals_reference, single
from tests.ops.random_movement import random_tensor
from toolchain.ir import Graph, Operands, Tensor
from toolchain.ops import Unpack


def random_unpack(rng: np.random.Generator) -> Graph:
    x = random_tensor(rng)
    op = Unpack(int(rng.integers(len(x.shape))))
    types = op.infer(Operands((x,), ()))
    outputs = [Tensor(f"y{i}", t.shape, t.dtype, x.quant) for i, t in enumerate(types)]
    return single(op, [x], outputs)


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(random_unpack, tmp_path)
