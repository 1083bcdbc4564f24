from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from tests.ops.harness import assert_c_equals_reference
from tests.ops.random_pool import random_pool
from toolchain.errors import ModelError
from toolchain.ir import DType, Operands, Tensor
from toolchain.ops import MaxPool2D
from toolchain.ops.spatial import Pads


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(partial(random_pool, MaxPool2D), tmp_path)


def test_a_window_of_padding_only_is_refused() -> None:
    x = Tensor("x", (1, 4, 4, 1), DType.INT8)
    with pytest.raises(ModelError, match="padding"):
        MaxPool2D((2, 2), pads=Pads(top=2)).infer(Operands((x,), (x,)))
