from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.ops.harness import assert_c_equals_reference, single
from tests.ops.random_binary import assert_near_real, random_binary
from tests.ops.random_operands import random_activation
from toolchain.ir import DType, Graph, Quant, Tensor
from toolchain.ops import Sub


def random_sub(rng: np.random.Generator) -> Graph:
    return random_binary(rng, Sub(random_activation(rng)))


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(random_sub, tmp_path)


def test_is_within_one_step_of_the_real_function() -> None:
    for seed in range(50):
        assert_near_real(Sub(), lambda a, b: a - b, seed)


@pytest.mark.parametrize(
    ("scales", "kernel"), [((0.0513, 0.0388, 0.0617), "affine"), ((0.05, 0.04, 0.06), "add")]
)
def test_exact_ties_need_two_stages(scales: tuple[float, ...], kernel: str) -> None:
    a, b, y = (
        Tensor(name, (8,), DType.INT8, Quant.per_tensor(scale, 3))
        for name, scale in zip("aby", scales, strict=True)
    )
    graph = single(Sub(), [a, b], [y])
    node = graph.nodes[0]
    assert node.op.lower(graph.operands(node)).kernel == kernel
