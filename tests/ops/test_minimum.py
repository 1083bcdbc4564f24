from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.ops.harness import assert_c_equals_reference, single
from tests.ops.random_binary import random_binary
from tests.ops.random_unary import random_quant
from toolchain.ir import DType, Graph, Tensor, run
from toolchain.ops import Minimum


def random_minimum(rng: np.random.Generator) -> Graph:
    quant = random_quant(rng)
    return random_binary(rng, Minimum(), (quant, quant, quant))


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(random_minimum, tmp_path)


def test_is_numpy_s_minimum() -> None:
    a, b = np.random.default_rng(0).integers(-128, 128, (2, 3, 5), dtype=np.int8)
    quant = random_quant(np.random.default_rng(1))
    tensors = [Tensor(name, (3, 5), DType.INT8, quant) for name in "aby"]
    (y,) = run(single(Minimum(), tensors[:2], tensors[2:]), [a, b])
    np.testing.assert_array_equal(y, np.minimum(a, b))
