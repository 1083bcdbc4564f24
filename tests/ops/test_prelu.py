from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.ops.harness import assert_c_equals_reference, inferred, random_values, single
from tests.ops.random_binary import random_binary, random_quants, random_shapes
from toolchain.ir import DType, Graph, Quant, Tensor, trace
from toolchain.ops import Prelu


def random_prelu(rng: np.random.Generator) -> Graph:
    return random_binary(rng, Prelu(), random_quants(rng))


def prelu_of_either_type(rng: np.random.Generator) -> Graph:
    if rng.random() < 0.7:
        return random_prelu(rng)
    a, b, y = (
        Tensor(name, shape, DType.INT16, Quant.per_tensor(rng.uniform(1e-5, 1e-3)))
        for name, shape in zip("aby", (*random_shapes(rng), ()), strict=True)
    )
    return single(Prelu(), [a, b], [inferred(Prelu(), [a, b], y)])


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(prelu_of_either_type, tmp_path)


def test_is_near_the_real_function() -> None:
    for seed in range(50):
        rng = np.random.default_rng(seed)
        graph = prelu_of_either_type(rng)
        values = trace(graph, [random_values(tensor, rng) for tensor in graph.input_tensors])
        a, b, y = (graph.tensors[name] for name in "aby")
        x, slope = (t.scale * (values[t.name].astype(float) - t.zero_point) for t in (a, b))
        exact = np.where(x >= 0, x, x * slope) / y.scale + y.zero_point
        assert np.abs(values["y"] - np.clip(exact, *y.dtype.limits)).max() <= 1
