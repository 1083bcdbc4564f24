"""Random pools of either kind."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.ops.harness import inferred, single
from tests.ops.random_operands import int8_tensor, pair, random_activation
from toolchain.ir import Graph, Tensor
from toolchain.ops import AveragePool2D, MaxPool2D
from toolchain.ops.spatial import NO_PADS, Pads, same_pads


def random_pool(kind: Callable[..., AveragePool2D | MaxPool2D], rng: np.random.Generator) -> Graph:
    kernel, stride = pair(rng, 1, 5), pair(rng, 1, 4)
    height, width = (k + int(rng.integers(0, 8)) for k in kernel)
    pads = Pads(*(int(rng.integers(0, k)) for k in (kernel[0], kernel[0], kernel[1], kernel[1])))
    pads = (NO_PADS, same_pads((height, width), kernel, stride), pads)[int(rng.integers(3))]
    op = kind(kernel, stride, pads, random_activation(rng))
    x = int8_tensor(rng, "x", (int(rng.integers(1, 3)), height, width, int(rng.integers(1, 9))))
    return single(op, [x], [inferred(op, [x], Tensor("y", (), x.dtype, x.quant))])
