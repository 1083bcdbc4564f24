from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.ops.harness import assert_c_equals_reference
from tests.ops.random_unary import random_unary
from toolchain.ir import Graph
from toolchain.ops import Abs


def random_abs(rng: np.random.Generator) -> Graph:
    return random_unary(rng, Abs())


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(random_abs, tmp_path)
