from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.ops.harness import assert_c_equals_reference, inferred, single
from tests.ops.random_operands import random_weights
from toolchain.ir import DType, Graph, Quant, Tensor, constant
from toolchain.numerics import Activation
from toolchain.ops import Conv2D
from toolchain.ops.spatial import Pads


def random_conv(rng: np.random.Generator) -> Graph:
    groups = int(rng.choice([1, 1, 1, 2]))
    group_c, out_c = int(rng.integers(1, 9)), groups * int(rng.integers(1, 9))
    kernel = tuple(int(k) for k in rng.integers(1, 5, 2))
    op = Conv2D(
        stride=tuple(int(s) for s in rng.integers(1, 4, 2)),
        dilation=tuple(int(d) for d in rng.integers(1, 3, 2)),
        pads=Pads(*(int(p) for p in rng.integers(0, 3, 4))),
        activation=rng.choice(list(Activation)),
    )
    need = [(k - 1) * d + 1 for k, d in zip(kernel, op.dilation, strict=True)]
    size = [int(rng.integers(n, n + 8)) for n in need]
    x_quant = Quant.per_tensor(rng.uniform(0.01, 0.2), int(rng.integers(-128, 128)))
    x = Tensor("x", (int(rng.integers(1, 3)), *size, groups * group_c), DType.INT8, x_quant)
    weights = random_weights(rng, (out_c, *kernel, group_c), 0)
    bias = constant("b", rng.integers(-3000, 3000, out_c, dtype=np.int32))
    y = Tensor("y", (), DType.INT8, Quant.per_tensor(0.1, int(rng.integers(-128, 128))))
    return single(op, [x, weights, bias], [inferred(op, [x, weights, bias], y)])


def test_c_equals_reference(tmp_path: Path) -> None:
    assert_c_equals_reference(random_conv, tmp_path)
