from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.ops.harness import assert_c_equals_reference, inferred, single
from tests.ops.random_operands import (
    int8_tensor,
    ints,
    pair,
    random_activation,
    random_bias,
    random_weights,
)
from toolchain.ir import Graph
from toolchain.ops import TransposeConv
from toolchain.ops.spatial import Pads


def random_transpose_conv(rng: np.random.Generator) -> Graph:
    kernel, stride = pair(rng, 1, 4), pair(rng, 1, 3)
    height, width, in_c, out_c = ints(rng, 1, 6, 4)
    # Pads below the kernel, and behind the last input even negative, always leave an output.
    top, left = (int(rng.integers(0, k)) for k in kernel)
    ends = zip(kernel, (top, left), strict=True)
    bottom, right = (int(rng.integers(-2, k - before)) for k, before in ends)
    op = TransposeConv(stride, Pads(top, bottom, left, right), random_activation(rng))
    x = int8_tensor(rng, "x", (int(rng.integers(1, 3)), height, width, in_c))
    inputs = [x, random_weights(rng, (out_c, *kernel, in_c), 0), random_bias(rng, out_c)]
    return single(op, inputs, [inferred(op, inputs, int8_tensor(rng, "y", ()))])


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(random_transpose_conv, tmp_path)
