from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.ops.harness import assert_c_equals_reference, inferred, single
from tests.ops.random_unary import random_shape
from toolchain.ir import DType, Graph, Quant, Tensor, run
from toolchain.ops import Dequantize


def random_dequantize(rng: np.random.Generator) -> Graph:
    dtype = [DType.INT8, DType.UINT8, DType.INT16][int(rng.integers(3))]
    low, high = dtype.limits
    quant = Quant.per_tensor(10 ** rng.uniform(-6, 2), int(rng.integers(low, high + 1)))
    x = Tensor("x", random_shape(rng), dtype, quant)
    y = Tensor("y", (), DType.FLOAT32)
    return single(Dequantize(), [x], [inferred(Dequantize(), [x], y)])


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(random_dequantize, tmp_path)


def test_is_the_correctly_rounded_product() -> None:
    x = Tensor("x", (256,), DType.INT8, Quant.per_tensor(0.1, 3))
    values = np.arange(-128, 128).astype(np.int8)
    (y,) = run(single(Dequantize(), [x], [Tensor("y", (256,), DType.FLOAT32)]), [values])
    np.testing.assert_array_equal(y, ((values.astype(float) - 3) * x.scale).astype(np.float32))
