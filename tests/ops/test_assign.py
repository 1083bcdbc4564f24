from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.ops.harness import assert_c_equals_reference
from tests.ops.random_state import random_rows, updating
from toolchain.errors import ModelError
from toolchain.ir import Graph, Operands
from toolchain.ops import Assign


def random_assign(rng: np.random.Generator) -> Graph:
    state, _ = random_rows(rng)
    return updating(rng, Assign(), state, replace(state, name="x"))


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(random_assign, tmp_path)


def test_a_value_of_another_shape_is_refused() -> None:
    state, _ = random_rows(np.random.default_rng(1))
    wide = replace(state, name="x", shape=(*state.shape, 2))
    with pytest.raises(ModelError, match="does not fit a state"):
        Assign().infer(Operands((state, wide), ()))
