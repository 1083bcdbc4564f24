from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.ops.harness import assert_c_equals_reference
from tests.ops.random_binary import assert_near_real, random_binary
from tests.ops.random_operands import random_activation
from toolchain.ir import Graph
from toolchain.ops import Add


def random_add(rng: np.random.Generator) -> Graph:
    return random_binary(rng, Add(random_activation(rng)))


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(random_add, tmp_path)


def test_is_within_one_step_of_the_real_function() -> None:
    for seed in range(50):
        assert_near_real(Add(), lambda a, b: a + b, seed)
