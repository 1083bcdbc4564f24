"""Windows are true: an output never depends on an input outside its window."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from tests.ops.harness import CASES, random_values
from tests.ops.random_pool import random_pool
from tests.ops.test_concat import random_concat
from tests.ops.test_conv2d import random_conv
from tests.ops.test_depthwise_conv2d import random_depthwise
from tests.ops.test_fully_connected import random_fully_connected
from tests.ops.test_gather import random_gather
from tests.ops.test_mean import random_mean
from tests.ops.test_pad import random_pad
from tests.ops.test_reduce_max import random_reduce_max
from tests.ops.test_reshape import random_reshape
from tests.ops.test_resize_bilinear import random_resize_bilinear
from tests.ops.test_resize_nearest import random_resize_nearest
from tests.ops.test_strided_slice import random_strided_slice
from tests.ops.test_transpose import random_transpose
from tests.ops.test_transpose_conv import random_transpose_conv
from toolchain.ir import Array, Graph, Tensor, run
from toolchain.ops import AveragePool2D, MaxPool2D
from toolchain.ops.window import Window, whole

Maker = Callable[[np.random.Generator], Graph]
MAKERS: dict[str, Maker] = {
    "average_pool2d": partial(random_pool, AveragePool2D),
    "concat": random_concat,
    "conv2d": random_conv,
    "depthwise_conv2d": random_depthwise,
    "fully_connected": random_fully_connected,
    "gather": random_gather,
    "max_pool2d": partial(random_pool, MaxPool2D),
    "mean": random_mean,
    "pad": random_pad,
    "reduce_max": random_reduce_max,
    "reshape": random_reshape,
    "resize_bilinear": random_resize_bilinear,
    "resize_nearest": random_resize_nearest,
    "strided_slice": random_strided_slice,
    "transpose": random_transpose,
    "transpose_conv": random_transpose_conv,
}


def scrambled(
    x: Tensor, value: Array, window: Window, ranges: list[tuple[int, int]], rng: np.random.Generator
) -> Array:
    """Return ``value`` with everything outside the window of the output ``ranges`` made anew."""
    if len(ranges) != len(x.shape):
        assert window == whole(x.shape)
        return value
    other = random_values(x, rng)
    bounds = (axis.needs(*taken) for axis, taken in zip(window.axes, ranges, strict=True))
    inside = tuple(slice(max(0, low), max(0, high)) for low, high in bounds)
    other[inside] = value[inside]
    return other


@pytest.mark.parametrize("name", MAKERS)
def test_outputs_depend_on_their_windows_only(name: str) -> None:
    for seed in range(CASES):
        rng = np.random.default_rng(seed)
        graph = MAKERS[name](rng)
        node, y = graph.nodes[0], graph.output_tensors[0]
        windows = node.op.windows(graph.operands(node))
        ranges = [
            (int(low), int(rng.integers(low, n)) + 1) for n in y.shape for low in [rng.integers(n)]
        ]
        values = [random_values(x, rng) for x in graph.input_tensors]
        others = [
            scrambled(x, value, window, ranges, rng)
            for x, value, window in zip(graph.input_tensors, values, windows, strict=True)
        ]
        part = tuple(slice(low, high) for low, high in ranges)
        (before,), (after,) = run(graph, values), run(graph, others)
        np.testing.assert_array_equal(after[part], before[part], err_msg=f"seed {seed}: {node}")
