from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.ops.harness import assert_c_equals_reference
from tests.ops.random_pool import random_pool
from toolchain.errors import ModelError
from toolchain.ir import DType, Graph, Operands, Tensor
from toolchain.ops import AveragePool2D
from toolchain.ops.spatial import Pads


def legacy_or_not(rng: np.random.Generator) -> Graph:
    return random_pool(partial(AveragePool2D, half_up=bool(rng.integers(2))), rng)


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(legacy_or_not, tmp_path)


def test_half_up_is_the_mean_of_unsigned_values() -> None:
    values = np.random.default_rng(0).integers(-128, 128, (1, 2, 2, 500), dtype=np.int8)
    x = Tensor("x", values.shape, DType.INT8)
    y = Tensor("y", (1, 1, 1, 500), DType.INT8)
    (got,) = AveragePool2D((2, 2), half_up=True).reference(Operands((x,), (y,)), [values])
    unsigned = values.astype(np.int64).sum(axis=(1, 2), keepdims=True) + 4 * 128
    np.testing.assert_array_equal(got, (unsigned + 2) // 4 - 128)


def test_a_window_of_padding_only_is_refused() -> None:
    x = Tensor("x", (1, 4, 4, 1), DType.INT8)
    with pytest.raises(ModelError, match="padding"):
        AveragePool2D((2, 2), pads=Pads(top=2)).infer(Operands((x,), (x,)))
