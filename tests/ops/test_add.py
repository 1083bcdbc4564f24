from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.ops.harness import assert_c_equals_reference, single
from tests.ops.random_binary import assert_near_real, random_binary
from tests.ops.random_operands import random_activation
from toolchain.ir import DType, Graph, Node, Quant, Tensor, constant
from toolchain.ops import Add


def random_add(rng: np.random.Generator) -> Graph:
    return random_binary(rng, Add(random_activation(rng)))


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(random_add, tmp_path)


def test_is_within_one_step_of_the_real_function() -> None:
    for seed in range(50):
        assert_near_real(Add(), lambda a, b: a + b, seed)


@pytest.mark.parametrize(
    ("scales", "kernel"), [((0.0513, 0.0388, 0.0617), "affine"), ((0.05, 0.04, 0.06), "add")]
)
def test_exact_ties_need_two_stages(scales: tuple[float, ...], kernel: str) -> None:
    a, b, y = (
        Tensor(name, (8,), DType.INT8, Quant.per_tensor(scale, 3))
        for name, scale in zip("aby", scales, strict=True)
    )
    graph = single(Add(), [a, b], [y])
    node = graph.nodes[0]
    assert node.op.lower(graph.operands(node)).kernel == kernel


def sums_of_rows(rng: np.random.Generator) -> Graph:
    """Return three sums that differ in their constants' scales alone."""
    quant, nodes, tensors = Quant.per_tensor(0.05, 3), [], {}
    for i in range(3):
        x, y = (Tensor(f"{name}{i}", (5, 8), DType.INT8, quant) for name in "xy")
        row = constant(
            f"row{i}", rng.integers(-128, 128, 8, np.int8), Quant.per_tensor(0.0137 + i / 1000)
        )
        nodes.append(Node(f"add{i}", Add(), (x.name, row.name), (y.name,)))
        tensors |= {tensor.name: tensor for tensor in (x, row, y)}
    names = [tuple(f"{name}{i}" for i in range(3)) for name in "xy"]
    return Graph("sums", tuple(nodes), tensors, *names)


def test_sums_that_differ_in_their_constants_share_their_kernel(tmp_path: Path) -> None:
    graph = sums_of_rows(np.random.default_rng(0))
    lowered = [node.op.lower(graph.operands(node)) for node in graph.nodes]
    assert {one.kernel for one in lowered} == {"affine"}
    assert lowered[0].numbers == lowered[1].numbers == lowered[2].numbers
    assert_c_equals_reference(sums_of_rows, tmp_path, 2)
