from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.ops.harness import assert_c_equals_reference, inferred, single
from tests.ops.random_operands import int8_tensor, ints
from toolchain.ir import Graph
from toolchain.ops import Mean


def random_mean(rng: np.random.Generator) -> Graph:
    rank = int(rng.integers(1, 6))
    x = int8_tensor(rng, "x", ints(rng, 1, 6, rank))
    axes = tuple(axis for axis in range(rank) if rng.integers(2)) or (rank - 1,)
    op = Mean(axes, keep_dims=bool(rng.integers(2)))
    y = inferred(op, [x], int8_tensor(rng, "y", ()))
    return single(op, [x], [y if rng.integers(2) else replace(y, quant=x.quant)])


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(random_mean, tmp_path)
