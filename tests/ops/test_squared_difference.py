from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.ops.harness import assert_c_equals_reference, inferred, random_values, single
from tests.ops.random_binary import random_binary, random_quants, random_shapes
from toolchain.errors import ModelError
from toolchain.ir import DType, Graph, Quant, Tensor, trace
from toolchain.ops import SquaredDifference


def fine(quants: tuple[Quant, Quant, Quant]) -> bool:
    """Tell whether the output's scale is too fine for the square."""
    a, b, y = quants
    return (2 * max(a.scale, b.scale)) ** 2 / (2**14 * y.scale) >= 0.99


def random_squared_difference(rng: np.random.Generator) -> Graph:
    while fine(quants := random_quants(rng)):
        pass
    return random_binary(rng, SquaredDifference(), quants)


def random_squared_difference_16(rng: np.random.Generator) -> Graph:
    a, b = (
        Tensor(name, shape, DType.INT16, Quant.per_tensor(rng.uniform(1e-5, 1e-3)))
        for name, shape in zip("ab", random_shapes(rng), strict=True)
    )
    top = (2 * max(a.scale, b.scale)) ** 2
    y = Tensor("y", (), DType.INT16, Quant.per_tensor(top * 2 ** rng.uniform(1, 16)))
    return single(SquaredDifference(), [a, b], [inferred(SquaredDifference(), [a, b], y)])


def random_of_either_type(rng: np.random.Generator) -> Graph:
    wide = rng.random() < 0.4
    return (random_squared_difference_16 if wide else random_squared_difference)(rng)


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(random_of_either_type, tmp_path)


def test_is_near_the_real_function() -> None:
    for seed in range(50):
        rng = np.random.default_rng(seed)
        graph = random_of_either_type(rng)
        values = trace(graph, [random_values(tensor, rng) for tensor in graph.input_tensors])
        a, b, y = (graph.tensors[name] for name in "aby")
        left, right = (x.scale * (values[x.name].astype(float) - x.zero_point) for x in (a, b))
        exact = np.square(left - right) / y.scale + y.zero_point
        # Seven bits behind the point, on twice the larger scale.
        step = 2 * max(a.scale, b.scale) * 1.5 / (128 if y.dtype is DType.INT8 else 1)
        allowed = 1 + step * (2 * np.abs(left - right) + step) / y.scale
        assert np.all(np.abs(values["y"] - np.clip(exact, *y.dtype.limits)) <= allowed)


def test_outputs_finer_than_the_square_are_refused() -> None:
    q = Quant.per_tensor(1.0)
    a, b = (Tensor(name, (4,), DType.INT8, q) for name in "ab")
    y = Tensor("y", (4,), DType.INT8, Quant.per_tensor(2.0**-13))
    graph = single(SquaredDifference(), [a, b], [y])
    with pytest.raises(ModelError, match="too fine"):
        trace(graph, [np.zeros(4, np.int8)] * 2)
