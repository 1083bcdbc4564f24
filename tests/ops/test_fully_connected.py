from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.ops.harness import assert_c_equals_reference, inferred, single
from tests.ops.random_operands import (
    int8_tensor,
    ints,
    random_activation,
    random_bias,
    random_weights,
)
from toolchain.ir import Graph
from toolchain.ops import FullyConnected


def random_fully_connected(rng: np.random.Generator) -> Graph:
    op = FullyConnected(random_activation(rng), keep_dims=bool(rng.integers(2)))
    depth, units = ints(rng, 1, 40, 2)
    x = int8_tensor(rng, "x", (*ints(rng, 1, 3, int(rng.integers(1, 4))), depth))
    inputs = [x, random_weights(rng, (units, depth), 0), random_bias(rng, units)]
    return single(op, inputs, [inferred(op, inputs, int8_tensor(rng, "y", ()))])


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(random_fully_connected, tmp_path)
