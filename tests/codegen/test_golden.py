"""The generated C of small networks, word for word: a change of its shape is seen in review.

``pytest --update-golden`` rewrites the files.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from codegen.emit import emit
from tests.ops.harness import single
from toolchain.ir import DType, Graph, Quant, Tensor, constant
from toolchain.kernels import Isa
from toolchain.numerics import Activation
from toolchain.ops import Conv2D, DepthwiseConv2D
from toolchain.ops.spatial import Pads
from toolchain.plan import plan_layers

GOLDEN = Path(__file__).parent / "golden"


def image(channels: int) -> Tensor:
    return Tensor("image", (1, 6, 6, channels), DType.INT8, Quant.per_tensor(0.05, -3))


def filters(shape: tuple[int, ...], axis: int) -> list[Tensor]:
    rng = np.random.default_rng(0)
    channels = shape[axis]
    scales = tuple(float(np.float32(0.002 * (1 + i))) for i in range(channels))
    values = rng.integers(-127, 128, shape, dtype=np.int8)
    bias = rng.integers(-500, 500, channels, dtype=np.int32)
    return [constant("w", values, Quant(scales, (0,) * channels, axis)), constant("b", bias)]


def conv(channels: int, kernel: int, pads: Pads) -> Graph:
    op = Conv2D(stride=(2, 2), pads=pads, activation=Activation.RELU6)
    out = (6 + pads.top + pads.bottom - kernel) // 2 + 1
    y = Tensor("y", (1, out, out, 4), DType.INT8, Quant.per_tensor(0.03, -128))
    return single(op, [image(channels), *filters((4, kernel, kernel, channels), 0)], [y])


def depthwise() -> Graph:
    y = Tensor("y", (1, 6, 6, 4), DType.INT8, Quant.per_tensor(0.04, 5))
    op = DepthwiseConv2D(pads=Pads(1, 1, 1, 1))
    return single(op, [image(4), *filters((1, 3, 3, 4), 3)], [y])


NETWORKS = {
    "conv2d_padded": conv(3, 3, Pads(0, 1, 0, 1)),
    "conv2d_pointwise": conv(8, 1, Pads()),
    "depthwise_conv2d": depthwise(),
}


@pytest.mark.parametrize("isa", [Isa.PORTABLE, Isa.DSP], ids=lambda isa: isa.name.lower())
@pytest.mark.parametrize("name", NETWORKS)
def test_generated_c_is_as_agreed(name: str, isa: Isa, update_golden: bool) -> None:
    files = emit(NETWORKS[name], plan_layers(NETWORKS[name], isa), "net")
    text = files["src/net.c"] + "\n" + files["src/net_kernels.h"]
    path = GOLDEN / f"{name}_{isa.name.lower()}.c"
    if update_golden:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), "pytest --update-golden accepts the change"


def test_the_same_network_gives_the_same_bytes() -> None:
    graph = NETWORKS["conv2d_padded"]
    assert emit(graph, plan_layers(graph)) == emit(graph, plan_layers(graph))
