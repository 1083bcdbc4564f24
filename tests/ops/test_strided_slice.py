from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.ops.harness import assert_c_equals_reference, inferred, single
from tests.ops.random_movement import random_tensor
from toolchain.errors import ModelError
from toolchain.ir import DType, Graph, Operands, Tensor
from toolchain.ops import StridedSlice


def random_range(rng: np.random.Generator, size: int) -> tuple[int, int, int]:
    low, high = sorted(int(v) for v in rng.integers(0, size, 2))
    step = int(rng.integers(1, 4))
    return (low, high + 1, step) if rng.integers(3) else (high, low - 1, -step)


def random_strided_slice(rng: np.random.Generator) -> Graph:
    x = random_tensor(rng, max_rank=5)
    begin, end, strides = zip(*(random_range(rng, size) for size in x.shape), strict=True)
    counts = [len(range(*taken)) for taken in zip(begin, end, strides, strict=True)]
    lone = [count == 1 and step > 0 for count, step in zip(counts, strides, strict=True)]
    shrink = tuple(axis for axis, one in enumerate(lone) if one and rng.integers(3))
    op = StridedSlice(begin, end, strides, shrink)
    return single(op, [x], [inferred(op, [x], Tensor("y", (), x.dtype, x.quant))])


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(random_strided_slice, tmp_path)


def test_the_reference_is_a_python_slice() -> None:
    x = Tensor("x", (7, 6), DType.INT8)
    op = StridedSlice((5, 1), (-1, 6), (-2, 3))
    values = np.arange(42, dtype=np.int8).reshape(7, 6)
    (made,) = op.infer(Operands((x,), (x,)))
    y = Tensor("y", made.shape, made.dtype)
    (got,) = op.reference(Operands((x,), (y,)), [values])
    np.testing.assert_array_equal(got, values[5::-2, 1:6:3])


@pytest.mark.parametrize("end", [(8, 6), (0, 6)])
def test_a_range_outside_the_tensor_is_refused(end: tuple[int, int]) -> None:
    x = Tensor("x", (7, 6), DType.INT8)
    with pytest.raises(ModelError, match="of \\[7, 6\\]"):
        StridedSlice((0, 0), end, (1, 1)).infer(Operands((x,), (x,)))
