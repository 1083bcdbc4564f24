"""Random pools of either kind."""

from __future__ import annotations

import numpy as np

from tests.ops.harness import inferred, single
from tests.ops.random_operands import int8_tensor, pair, random_activation
from toolchain.ir import Graph
from toolchain.ops import AveragePool2D, MaxPool2D
from toolchain.ops.spatial import Pads


def random_pool(kind: type[AveragePool2D | MaxPool2D], rng: np.random.Generator) -> Graph:
    kernel = pair(rng, 1, 5)
    pads = Pads(*(int(rng.integers(0, k)) for k in (kernel[0], kernel[0], kernel[1], kernel[1])))
    op = kind(kernel, pair(rng, 1, 4), pads, random_activation(rng))
    size = [k + int(rng.integers(0, 8)) for k in kernel]
    x = int8_tensor(rng, "x", (int(rng.integers(1, 3)), size[0], size[1], int(rng.integers(1, 9))))
    return single(op, [x], [inferred(op, [x], int8_tensor(rng, "y", ()))])
