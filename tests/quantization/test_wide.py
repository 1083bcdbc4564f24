"""16x8: int16 activations, int8 weights."""

from __future__ import annotations

import numpy as np
import pytest

from tests.formats.onnx_graphs import model
from tests.oracle.runtimes import Micro
from tests.quantization.networks import float_graph, inputs, node
from tests.quantization.test_equalize import uneven
from toolchain.errors import ModelError
from toolchain.exporters.tflite import export_tflite
from toolchain.importers.onnx import import_onnx
from toolchain.importers.tflite import import_tflite
from toolchain.ir import DType, Graph, run
from toolchain.quantization import compare_layers, quantize
from toolchain.quantization.report import integer_case
from toolchain.reference import run_float


def exact_weights(seed: int) -> Graph:
    """Return a float network whose weights are a few eighths, which int8 holds exactly."""
    rng = np.random.default_rng(seed)

    def eighths(*shape: int) -> np.ndarray:
        values = rng.integers(-7, 8, shape) / 8
        values.reshape(shape[0], -1)[:, 0] = 127 / 128  # a scale of 1/128 for every filter
        return values.astype(np.float32)

    constants = {"w1": eighths(6, 3, 3, 3), "w2": eighths(6, 1, 3, 3), "w3": eighths(5, 6)}
    nodes = [
        node("Conv", ["x", "w1"], ["a"], pads=[1, 1, 1, 1]),
        node("HardSwish", ["a"], ["h"]),
        node("Conv", ["h", "w2"], ["d"], pads=[1, 1, 1, 1], group=6),
        node("Sigmoid", ["d"], ["g"]),
        node("Mul", ["h", "g"], ["m"]),
        node("Add", ["m", "a"], ["s"]),
        node("GlobalAveragePool", ["s"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "w3"], ["y"], transB=1),
    ]
    return import_onnx(model(nodes, {"x": [1, 3, 8, 6]}, constants), "net")


@pytest.mark.parametrize("seed", range(4))
def test_sixteen_bits_leave_nothing_but_the_error_of_weights(seed: int) -> None:
    graph = exact_weights(seed)
    cases = inputs(graph, 16, seed)
    quantised = quantize(graph, cases, activations="int16")
    noise = {e.tensor: e.sqnr_db for e in compare_layers(graph, quantised, cases)}
    assert min(noise[name] for name in ("a", "h", "d", "g", "m", "s", "y")) > 65
    coarse = {e.tensor: e.sqnr_db for e in compare_layers(graph, quantize(graph, cases), cases)}
    assert noise["y"] > coarse["y"] + 20


def test_the_exported_file_computes_the_same_in_tflite_micro() -> None:
    graph = float_graph(7)
    quantised = quantize(graph, inputs(graph, 8, 0), activations="int16")
    activations = [t for t in quantised.tensors.values() if not t.is_constant]
    assert {t.dtype for t in activations} == {DType.INT16}
    data = export_tflite(quantised)
    oracle = Micro(data)
    for case in inputs(graph, 5, 1):
        codes = integer_case(quantised, case)
        (want,) = run(quantised, codes)
        np.testing.assert_array_equal(run(import_tflite(data, "net"), codes)[0], want)
        np.testing.assert_array_equal(oracle.run(codes, 1)[0], want)


def test_equalisation_and_reconstruction_help_sixteen_bits_too() -> None:
    gains = []
    for seed in range(4):
        graph = uneven(seed)
        cases, test = inputs(graph, 32, seed), inputs(graph, 8, seed + 50)
        figures = [
            compare_layers(graph, quantize(graph, cases, activations="int16", **options), test)
            for options in ({}, {"equalize": False, "rounding": "nearest"})
        ]
        gains.append(figures[0][-1].sqnr_db - figures[1][-1].sqnr_db)
    assert np.mean(gains) > 5


@pytest.mark.parametrize(
    ("name", "types"),
    [
        ("Elu", {DType.INT16}),
        ("Exp", {DType.INT16}),
        ("Log", {DType.INT16}),
        ("LogSoftmax", {DType.INT16, DType.INT8}),
    ],
)
def test_operators_without_sixteen_bits_compute_in_eight(name: str, types: set[DType]) -> None:
    nodes = [
        node("Sigmoid", ["x"], ["s"]),
        node(name, ["s"], ["t"]),
        node("Add", ["t", "s"], ["y"]),
        node(name, ["s"], ["u"]),
    ]
    graph = import_onnx(model(nodes, {"x": [1, 40]}, {}, outputs=["y", "u"]), "net")
    cases = inputs(graph, 16, 0)
    quantised = quantize(graph, cases, activations="int16")
    kinds = [quantised.operands(n).input(0).dtype for n in quantised.nodes if n.op.name != "add"]
    assert set(kinds) == types
    assert {t.dtype for t in quantised.output_tensors} == {DType.INT16}
    for tensor, want, got in zip(
        quantised.output_tensors,
        run_float(graph, cases[0]),
        run(quantised, integer_case(quantised, cases[0])),
        strict=True,
    ):
        assert np.abs(got * tensor.scale - want).max() < 0.05


def test_models_that_are_quantised_already_are_refused() -> None:
    graph = float_graph(0)
    coarse = quantize(graph, inputs(graph, 4, 0))
    rounded = graph.with_nodes(
        graph.nodes,
        [
            type(t)(t.name, t.shape, t.dtype, coarse.tensors[t.name].quant)
            for t in graph.input_tensors
        ],
    )
    with pytest.raises(ModelError) as caught:
        quantize(rounded, inputs(graph, 4, 0), activations="int16")
    assert caught.value.code == "E213"


def test_nearly_dead_filters_keep_the_fast_output_stage() -> None:
    rng = np.random.default_rng(0)
    kernel = rng.normal(0, 0.3, (6, 3, 3, 3)).astype(np.float32)
    kernel[[1, 4]] *= np.float32(1e-7)
    constants = {"w": kernel, "b": rng.normal(0, 3, 6).astype(np.float32)}
    nodes = [node("Conv", ["x", "w", "b"], ["a"]), node("Relu", ["a"], ["y"])]
    graph = import_onnx(model(nodes, {"x": [1, 3, 8, 6]}, constants), "net")
    cases = inputs(graph, 8, 0)
    quantised = quantize(graph, cases, activations="int16")
    (layer,) = (n for n in quantised.nodes if n.op.name == "conv2d")
    assert layer.op.lower(quantised.operands(layer)).numbers["mode"] == "high"
    errors = compare_layers(graph, quantised, cases)
    assert errors[-1].sqnr_db > 40
