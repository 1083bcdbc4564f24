from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.ops.harness import assert_c_equals_reference, inferred, random_values, single
from tests.ops.random_operands import random_quant
from toolchain.errors import ModelError
from toolchain.ir import DType, Graph, Quant, Tensor, constant, run
from toolchain.ops import BatchMatMul


def _shapes(rng: np.random.Generator, op: BatchMatMul) -> list[tuple[int, ...]]:
    """Return shapes of two factors whose batches broadcast."""
    rows, depth, columns = (int(n) for n in rng.integers(1, 9, 3))
    batch = [int(n) for n in rng.integers(1, 4, int(rng.integers(0, 4)))]
    a = (depth, rows) if op.transpose_a else (rows, depth)
    b = (columns, depth) if op.transpose_b else (depth, columns)
    return [
        (*(n if rng.random() < 0.7 else 1 for n in batch[int(rng.integers(len(batch) + 1)) :]), *m)
        for m in (a, b)
    ]


def matmul_of(rng: np.random.Generator, dtype: DType) -> Graph:
    op = BatchMatMul(bool(rng.integers(2)), bool(rng.integers(2)))
    wide = dtype is DType.INT16
    scales = rng.uniform(1e-4, 3e-4, 3) if wide else rng.uniform(0.01, 0.2, 3)
    zeros = (0, 0, 0) if wide else rng.integers(-128, 128, 3)
    quants = [Quant.per_tensor(float(s), int(z)) for s, z in zip(scales, zeros, strict=True)]
    if rng.random() < 0.5:
        quants[2] = Quant.per_tensor(quants[2].scale * (0.2 if wide else 5), int(zeros[2]))
    factors = [
        Tensor(name, shape, dtype, quant)
        for name, shape, quant in zip("ab", _shapes(rng, op), quants, strict=False)
    ]
    known = int(rng.integers(6))
    if known < 2:
        one = factors[known]
        factors[known] = constant(one.name, random_values(one, rng), one.quant)
    return single(op, factors, [inferred(op, factors, Tensor("y", (), dtype, quants[2]))])


def random_batch_matmul(rng: np.random.Generator) -> Graph:
    return matmul_of(rng, DType.INT8)


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(random_batch_matmul, tmp_path)


def test_c_equals_reference_in_16_bits(tmp_path: Path) -> None:
    assert_c_equals_reference(lambda rng: matmul_of(rng, DType.INT16), tmp_path)


def test_a_matrix_times_itself(tmp_path: Path) -> None:
    def square(rng: np.random.Generator) -> Graph:
        x, op = Tensor("x", (2, 5, 3), DType.INT8, random_quant(rng)), BatchMatMul(False, True)
        return single(op, [x, x], [inferred(op, [x, x], Tensor("y", (), DType.INT8, x.quant))])

    assert_c_equals_reference(square, tmp_path, 8)


def test_is_within_one_step_of_the_real_product() -> None:
    rng = np.random.default_rng(0)
    a, b = (Tensor(n, s, DType.INT8, random_quant(rng)) for n, s in (("a", (4, 6)), ("b", (6, 5))))
    y = Tensor("y", (4, 5), DType.INT8, Quant.per_tensor(20.0, 3))
    values = [random_values(t, rng) for t in (a, b)]
    left, right = (
        (v.astype(float) - t.zero_point) * t.scale for v, t in zip(values, (a, b), strict=True)
    )
    (got,) = run(single(BatchMatMul(), [a, b], [y]), values)
    assert np.abs(got - np.clip(left @ right / 20 + 3, -128, 127)).max() <= 0.51


@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        ((3, 4), (3, 4), "do not fit"),
        ((4,), (4, 2), "matrices are needed"),
        ((2, 3, 4), (3, 4, 2), "do not broadcast"),
        ((1, 40000), (40000, 1), "32-bit sum"),
    ],
)
def test_illegal_shapes_are_refused(
    first: tuple[int, ...], second: tuple[int, ...], why: str
) -> None:
    quant = Quant.per_tensor(0.1)
    factors = [Tensor(n, s, DType.INT8, quant) for n, s in (("a", first), ("b", second))]
    with pytest.raises(ModelError, match=why):
        inferred(BatchMatMul(), factors, Tensor("y", (), DType.INT8, quant))
