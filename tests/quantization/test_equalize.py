from __future__ import annotations

import numpy as np
import pytest

from tests.formats.onnx_graphs import helper, model
from tests.quantization.networks import inputs
from toolchain.importers.onnx import import_onnx
from toolchain.ir import Array, Graph
from toolchain.ops import AveragePool2D
from toolchain.quantization import compare_layers, prepare, quantize
from toolchain.quantization.equalize import equalize
from toolchain.reference import run_float, trace_float

node = helper.make_node


def uneven(seed: int) -> Graph:
    """Return a network whose channels differ by orders of magnitude, with paths of all kinds."""
    rng = np.random.default_rng(seed)

    def weights(*shape: int) -> Array:
        return (rng.normal(0, 1, shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    def spread(channels: int, *ones: int) -> Array:
        return np.float32(10) ** rng.uniform(-2, 0, (channels, *ones)).astype(np.float32)

    constants = {
        "w1": weights(8, 3, 3, 3) * spread(8, 1, 1, 1),
        "b1": weights(8) * 0.1,
        "w2": weights(16, 1, 3, 3) * spread(16, 1, 1, 1),
        "w3": weights(6, 16, 1, 1) * spread(6, 1, 1, 1),
        "b3": weights(6) * 0.1,
        "w4": weights(6, 3, 3, 3),
        "w5": weights(5, 6 * 4 * 3) * spread(5, 1),
        "w6": weights(4, 5),
    }
    nodes = [
        node("Conv", ["x", "w1", "b1"], ["a"], pads=[1, 1, 1, 1]),
        node("Relu", ["a"], ["ar"]),
        node("Conv", ["ar", "w2"], ["d"], pads=[1, 1, 1, 1], group=8),
        node("MaxPool", ["d"], ["dp"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["dp", "w3", "b3"], ["p"]),
        node("Relu", ["p"], ["pr"]),
        node("Conv", ["pr", "w4"], ["g"], pads=[1, 1, 1, 1], group=2),
        node("AveragePool", ["g"], ["gp"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", ["gp"], ["f"]),
        node("Gemm", ["f", "w5"], ["h"], transB=1),
        node("Gemm", ["h", "w6"], ["y"], transB=1),
    ]
    return import_onnx(model(nodes, {"x": [1, 3, 16, 12]}, constants), "net")


@pytest.mark.parametrize("seed", range(6))
def test_outputs_stay_and_ranges_come_nearer(seed: int) -> None:
    graph = uneven(seed)
    cases = inputs(graph, 8, seed)
    made = equalize(graph, cases)
    renamed = [n for one in made.nodes for n in one.outputs if n.endswith("equalized")]
    assert len(renamed) >= 5
    seen = [trace_float(made, case)[renamed[0]] for case in cases]
    peaks = np.max([values.max(axis=(0, 1, 2)) for values in seen], axis=0)
    assert np.median(peaks) > 0.99 * peaks.max()  # what a depthwise layer reads
    for case in inputs(graph, 4, seed + 1):
        want, got = run_float(graph, case)[0], run_float(made, case)[0]
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-5 * np.abs(want).max())


def test_uneven_channels_lose_less_once_equalised() -> None:
    gains = []
    for seed in range(6):
        graph = uneven(seed)
        cases, test = inputs(graph, 16, seed), inputs(graph, 8, seed + 20)
        figures = [
            compare_layers(graph, quantize(graph, cases, equalize=on, rounding="nearest"), test)
            for on in (True, False)
        ]
        gains.append(figures[0][-1].sqnr_db - figures[1][-1].sqnr_db)
    assert np.mean(gains) > 0.5


def test_the_mean_of_a_map_gets_a_scale_of_its_own() -> None:
    constants = {"w": np.ones((4, 3, 1, 1), np.float32)}
    nodes = [
        node("Conv", ["x", "w"], ["a"]),
        node("AveragePool", ["a"], ["y"], kernel_shape=[6, 5]),
    ]
    graph = import_onnx(model(nodes, {"x": [1, 3, 6, 5]}, constants), "net")
    cases = inputs(graph, 8, 0)
    made = quantize(graph, cases)
    assert not any(isinstance(n.op, AveragePool2D) for n in prepare(graph, cases).graph.nodes)
    (mean,) = (made.operands(n) for n in made.nodes if n.op.name == "mean")
    assert mean.output.scale < 0.5 * mean.input(0).scale
