from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.ops.harness import assert_c_equals_reference, inferred, random_values, single
from tests.ops.random_unary import random_quant, random_shape
from toolchain.errors import ModelError
from toolchain.fixed_point import inverse_root
from toolchain.ir import Array, DType, Graph, Quant, Tensor, constant, run
from toolchain.ops import LayerNorm


def layer_norm(
    x: Tensor, y: Quant, gain: Array | None, offset: Array | None, epsilon: float = 1e-5
) -> Graph:
    op = LayerNorm(epsilon)
    given = [
        None if v is None else constant(name, v.astype(np.float32))
        for name, v in (("gain", gain), ("offset", offset))
    ]
    return single(op, [x, *given], [inferred(op, [x, *given], Tensor("y", (), x.dtype, y))])


def norm_of(rng: np.random.Generator, dtype: DType) -> Graph:
    depth = int(rng.choice([1, 2, 3, 16, 33, 96]))
    wide = dtype is DType.INT16
    quant = Quant.per_tensor(float(rng.uniform(1e-5, 1e-3))) if wide else random_quant(rng)
    x = Tensor("x", (*random_shape(rng, 2), depth), dtype, quant)
    scale = rng.uniform(2, 12) / (2**15 if wide else 2**7)
    y = Quant.per_tensor(float(scale), 0 if wide else int(rng.integers(-128, 128)))
    gain = rng.normal(1, 0.5, depth) * rng.choice([1, 1, 100, 0], depth)
    offset = rng.normal(0, 1, depth)
    absent = int(rng.integers(4))
    epsilon = float(rng.choice([1e-5, 1e-12, 0.0, 1e-2, 1e4]))
    return layer_norm(x, y, None if absent == 0 else gain, None if absent < 2 else offset, epsilon)


def random_layer_norm(rng: np.random.Generator) -> Graph:
    return norm_of(rng, DType.INT8)


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(random_layer_norm, tmp_path)


def test_c_equals_reference_in_16_bits(tmp_path: Path) -> None:
    assert_c_equals_reference(lambda rng: norm_of(rng, DType.INT16), tmp_path)


def test_inverse_root_has_29_bits() -> None:
    rng = np.random.default_rng(0)
    exact = [4**k + d for k in range(31) for d in (-1, 0, 1) if 4**k + d > 0]
    drawn = np.exp2(rng.uniform(0, 61.9, 20000)).astype(np.int64)
    x = np.concatenate([np.array(exact, np.int64), np.arange(1, 5000), drawn])
    mantissa, exponent = inverse_root(x)
    assert mantissa.min() >= 2**30
    assert mantissa.max() < 2**31
    root = mantissa.astype(np.float64) * np.exp2(-30.0 - exponent)
    assert np.abs(root * np.sqrt(x.astype(np.float64)) - 1).max() < 2.0**-29


@pytest.mark.parametrize("dtype", [DType.INT8, DType.INT16])
@pytest.mark.parametrize("depth", [7, 64, 1000])
def test_is_within_a_step_of_the_real_function(dtype: DType, depth: int) -> None:
    rng = np.random.default_rng(depth)
    wide = dtype is DType.INT16
    quant = Quant.per_tensor(0.001) if wide else Quant.per_tensor(0.05, -17)
    x = Tensor("x", (20, depth), dtype, quant)
    gain, offset = (
        v.astype(np.float32) for v in (rng.normal(1, 0.3, depth), rng.normal(0, 1, depth))
    )
    y = Quant.per_tensor(8 / 2**15 if wide else 8 / 2**7, 0 if wide else 9)
    values = random_values(x, rng)
    real = (values.astype(float) - quant.zero_point) * quant.scale
    centred = real - real.mean(axis=-1, keepdims=True)
    normal = centred / np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + 1e-5)
    exact = (normal * gain + offset) / y.scale + y.zero_point
    (got,) = run(layer_norm(x, y, gain, offset), [values])
    assert np.abs(got - np.clip(exact, *dtype.limits)).max() <= (0.53 if wide else 0.501)


def test_rows_of_equal_elements_are_the_offset() -> None:
    x = Tensor("x", (1, 5), DType.INT8, Quant.per_tensor(0.1, 3))
    offset = np.arange(5.0)
    graph = layer_norm(x, Quant.per_tensor(0.5, -1), None, offset, epsilon=0.0)
    (got,) = run(graph, [np.full((1, 5), -128, np.int8)])
    assert got.tolist() == [[-1, 1, 3, 5, 7]]


def test_quantised_gains_count_by_their_real_values() -> None:
    rng = np.random.default_rng(1)
    x = Tensor("x", (3, 8), DType.INT8, Quant.per_tensor(0.1, 3))
    codes, quant = rng.integers(-128, 128, 8, dtype=np.int8), Quant.per_tensor(0.01, 5)
    real = (codes.astype(np.float64) - 5) * 0.01
    op, y = LayerNorm(), Tensor("y", (3, 8), DType.INT8, Quant.per_tensor(0.02, 1))
    values = random_values(x, rng)
    (got,) = run(single(op, [x, constant("gain", codes, quant)], [y]), [values])
    (want,) = run(layer_norm(x, Quant.per_tensor(0.02, 1), real, None), [values])
    assert np.abs(got.astype(int) - want).max() <= 1


def test_what_cannot_be_computed_is_refused() -> None:
    x = Tensor("x", (1, 2**14 + 1), DType.INT8, Quant.per_tensor(0.1))
    with pytest.raises(ModelError, match="rows of 1 to 16384"):
        layer_norm(x, Quant.per_tensor(0.1), None, None)
    short = Tensor("x", (1, 4), DType.INT8, Quant.per_tensor(0.1))
    with pytest.raises(ModelError, match="epsilon is too large"):
        layer_norm(short, Quant.per_tensor(0.1), None, None, 1e18)
    with pytest.raises(ModelError, match="constants of 4"):
        layer_norm(short, Quant.per_tensor(0.1), np.ones(3), None)
