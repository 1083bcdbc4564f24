from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.ops.harness import assert_c_equals_reference, inferred, single
from tests.ops.random_operands import int8_tensor, ints, pair
from toolchain.ir import Graph, Tensor
from toolchain.ops import ResizeBilinear


def random_resize_bilinear(rng: np.random.Generator) -> Graph:
    x = int8_tensor(rng, "x", (int(rng.integers(1, 3)), *ints(rng, 1, 8, 3)))
    align, half = ((False, False), (True, False), (False, True))[int(rng.integers(3))]
    op = ResizeBilinear(pair(rng, 1, 16), align, half)
    return single(op, [x], [inferred(op, [x], Tensor("y", (), x.dtype, x.quant))])


def resize_bilinear_in_float(rng: np.random.Generator) -> Graph:
    graph = random_resize_bilinear(rng)
    op = graph.nodes[0].op
    assert isinstance(op, ResizeBilinear)
    return single(replace(op, in_float=True), graph.input_tensors, graph.output_tensors)


def test_c_equals_reference_in_float(tmp_path: Path) -> None:
    assert_c_equals_reference(resize_bilinear_in_float, tmp_path)


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(random_resize_bilinear, tmp_path)
