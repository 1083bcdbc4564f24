from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.ops.harness import assert_c_equals_reference, inferred, single
from tests.ops.random_operands import (
    int8_tensor,
    pair,
    random_activation,
    random_bias,
    random_pads,
    random_weights,
)
from toolchain.ir import Graph
from toolchain.ops import DepthwiseConv2D


def random_depthwise(rng: np.random.Generator) -> Graph:
    channels, multiplier = int(rng.integers(1, 9)), int(rng.choice([1, 1, 2, 8]))
    op = DepthwiseConv2D(pair(rng, 1, 3), pair(rng, 1, 2), random_pads(rng, 2))
    op = DepthwiseConv2D(op.stride, op.dilation, op.pads, random_activation(rng))
    kernel = pair(rng, 1, 5)
    size = [(k - 1) * d + int(rng.integers(1, 9)) for k, d in zip(kernel, op.dilation, strict=True)]
    x = int8_tensor(rng, "x", (int(rng.integers(1, 3)), size[0], size[1], channels))
    weights = random_weights(rng, (1, *kernel, channels * multiplier), 3)
    inputs = [x, weights, random_bias(rng, channels * multiplier)]
    return single(op, inputs, [inferred(op, inputs, int8_tensor(rng, "y", ()))])


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(random_depthwise, tmp_path)
