from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.ops.harness import assert_c_equals_reference
from tests.ops.random_reduction import random_reduction
from toolchain.ir import Graph
from toolchain.ops import ReduceMax


def random_reduce_max(rng: np.random.Generator) -> Graph:
    return random_reduction(rng, ReduceMax)


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(random_reduce_max, tmp_path)
