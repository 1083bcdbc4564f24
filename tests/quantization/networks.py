"""Float networks with random weights, and inputs for them."""

from __future__ import annotations

import numpy as np

from tests.formats.onnx_graphs import helper, model
from toolchain.importers.onnx import import_onnx
from toolchain.ir import Array, Graph

node = helper.make_node


def float_cnn(seed: int) -> bytes:
    """Return a CNN with a residual, branches that join, pools, gates and a softmax."""
    rng = np.random.default_rng(seed)

    def weights(*shape: int) -> Array:
        fan_in = np.prod(shape[1:])
        return (rng.normal(0, 1, shape) / np.sqrt(fan_in)).astype(np.float32)

    constants = {
        "w1": weights(8, 3, 3, 3),
        "b1": weights(8),
        "w2": weights(8, 1, 3, 3),
        "w3": weights(8, 8, 1, 1) * rng.uniform(0.1, 3, (8, 1, 1, 1)).astype(np.float32),
        "w4": weights(10, 16),
        "b4": weights(10),
    }
    nodes = [
        node("Conv", ["x", "w1", "b1"], ["a"], pads=[1, 1, 1, 1], strides=[2, 2]),
        node("Relu", ["a"], ["ar"]),
        node("Conv", ["ar", "w2"], ["d"], pads=[1, 1, 1, 1], group=8),
        node("HardSwish", ["d"], ["dh"]),
        node("Conv", ["dh", "w3"], ["p"]),
        node("Add", ["ar", "p"], ["s"]),
        node("Sigmoid", ["s"], ["g"]),
        node("Mul", ["s", "g"], ["m"]),
        node("MaxPool", ["s"], ["mp"], kernel_shape=[2, 2], strides=[2, 2]),
        node("AveragePool", ["m"], ["ap"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Concat", ["mp", "ap"], ["c"], axis=1),
        node("GlobalAveragePool", ["c"], ["q"]),
        node("Flatten", ["q"], ["f"]),
        node("Gemm", ["f", "w4", "b4"], ["y"], transB=1),
    ]
    return model(nodes, {"x": [1, 3, 16, 12]}, constants)


def float_graph(seed: int) -> Graph:
    return import_onnx(float_cnn(seed), "net")


def inputs(graph: Graph, count: int, seed: int) -> list[list[Array]]:
    rng = np.random.default_rng(seed)
    return [
        [rng.normal(0.3, 1, x.shape).astype(np.float32) for x in graph.input_tensors]
        for _ in range(count)
    ]
