from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.ops.harness import assert_c_equals_reference
from tests.ops.random_reduction import random_reduction
from toolchain.ir import Graph
from toolchain.ops import ReduceMin


def random_reduce_min(rng: np.random.Generator) -> Graph:
    return random_reduction(rng, ReduceMin)


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(random_reduce_min, tmp_path)
