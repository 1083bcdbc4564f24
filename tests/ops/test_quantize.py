from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.ops.harness import assert_c_equals_reference, inferred, single
from tests.ops.on_host import run_on_host
from tests.ops.random_unary import random_quant, random_shape
from toolchain.errors import ModelError
from toolchain.ir import Array, DType, Graph, Quant, Tensor, run
from toolchain.ops import Quantize

PAIRS = [
    ("float32", "int8"),
    ("float32", "int16"),
    ("int8", "int8"),
    ("uint8", "int8"),
    ("int8", "uint8"),
    ("int8", "int16"),
    ("int8", "int32"),
    ("int16", "int8"),
    ("int16", "int16"),
    ("int16", "int32"),
    ("int32", "int8"),
    ("int32", "int16"),
]


def quant_of(dtype: DType, rng: np.random.Generator) -> Quant | None:
    if dtype == DType.FLOAT32:
        return None
    quant = random_quant(rng)
    shift = 128 if dtype == DType.UINT8 else 0
    return Quant(quant.scales, (quant.zero_point + shift,))


def random_quantize(rng: np.random.Generator) -> Graph:
    source, target = (DType(name) for name in PAIRS[int(rng.integers(len(PAIRS)))])
    x = Tensor("x", random_shape(rng), source, quant_of(source, rng))
    y = Tensor("y", (), target, quant_of(target, rng))
    return single(Quantize(), [x], [inferred(Quantize(), [x], y)])


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(random_quantize, tmp_path)


def edges(quant: Quant) -> Array:
    """Return halves, their float32 neighbours, limits, infinities and not-a-number."""
    halves = (np.arange(-300, 300, dtype=np.float32) + np.float32(0.5)) * np.float32(quant.scale)
    around = [np.nextafter(halves, np.float32(side), dtype=np.float32) for side in (-1e9, 1e9)]
    special = np.array([0.0, -0.0, 3e38, -3e38, np.inf, -np.inf, np.nan, 1e-40], dtype=np.float32)
    return np.concatenate([halves, *around, special])


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.1, 3e-5, 1e-30])
@pytest.mark.parametrize("zero", [-128, 0, 17, 127])
def test_float_edges_in_c(scale: float, zero: int, tmp_path: Path) -> None:
    quant = Quant.per_tensor(scale, zero)
    x = edges(quant)
    graph = single(
        Quantize(),
        [Tensor("x", x.shape, DType.FLOAT32)],
        [Tensor("y", x.shape, DType.INT8, quant)],
    )
    (got,) = run_on_host(graph, [x], tmp_path)
    np.testing.assert_array_equal(got, run(graph, [x])[0])
    exact = np.clip(x.astype(float) / quant.scale, -1e6, 1e6)[np.isfinite(x)]
    assert np.abs(got[np.isfinite(x)] - np.clip(exact + zero, -128, 127)).max() <= 0.5 + 1e-4


def test_unsupported_types_are_refused() -> None:
    x = Tensor("x", (4,), DType.INT32, Quant.per_tensor(0.1))
    with pytest.raises(ModelError, match="int32 to int32"):
        single(Quantize(), [x], [Tensor("y", (4,), DType.INT32, Quant.per_tensor(0.1))])
