"""Products of computed matrices of int16 against TFLite Micro."""

from __future__ import annotations

import numpy as np

from tests.ops.test_batch_matmul import matmul_of
from tests.oracle.micro import assert_reference_equals_micro
from toolchain.ir import DType, Graph


def of_16_bits(rng: np.random.Generator) -> Graph:
    return matmul_of(rng, DType.INT16)


def test_products_of_16_bits_equal_tflite_micro() -> None:
    assert_reference_equals_micro(of_16_bits)
