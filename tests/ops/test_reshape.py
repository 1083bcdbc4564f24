from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from tests.ops.harness import assert_c_equals_reference, inferred, single
from tests.ops.random_operands import ints
from toolchain.errors import ModelError
from toolchain.ir import DType, Graph, Operands, Tensor
from toolchain.ops import Reshape

TYPES = (DType.INT8, DType.INT16, DType.INT32, DType.FLOAT32)


def random_reshape(rng: np.random.Generator) -> Graph:
    shape = ints(rng, 1, 5, int(rng.integers(1, 5)))
    factors = list(shape)
    rng.shuffle(factors)
    cut = int(rng.integers(len(factors) + 1))
    x = Tensor("x", shape, TYPES[int(rng.integers(4))])
    op = Reshape((math.prod(factors[:cut]), *factors[cut:]))
    return single(op, [x], [inferred(op, [x], Tensor("y", (), x.dtype))])


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(random_reshape, tmp_path)


def test_a_reshape_of_another_size_is_refused() -> None:
    x = Tensor("x", (2, 3), DType.INT8)
    with pytest.raises(ModelError, match="elements"):
        Reshape((5,)).infer(Operands((x,), (x,)))
