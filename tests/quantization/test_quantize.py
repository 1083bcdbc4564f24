from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.oracle.runtimes import Micro
from tests.quantization.networks import float_graph, inputs
from toolchain.errors import UsageError
from toolchain.exporters.tflite import export_tflite
from toolchain.importers.tflite import import_tflite
from toolchain.ir import Array, DType, Quant, run
from toolchain.quantization import METHODS, calibrate, compare_layers, quantize
from toolchain.quantization.calibrate import Statistics
from toolchain.quantization.precision import INT8
from toolchain.quantization.ranges import Range, quant_of
from toolchain.quantization.report import integer_case
from toolchain.quantization.weights import integers, least_scales, weight_quant


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize("seed", range(4))
def test_outputs_stay_near_the_float_network(method: str, seed: int) -> None:
    graph = float_graph(seed)
    quantised = quantize(graph, inputs(graph, 16, seed), method)
    assert all(t.dtype in (DType.INT8, DType.INT32) for t in quantised.tensors.values())
    errors = {e.tensor: e for e in compare_layers(graph, quantised, inputs(graph, 8, seed + 100))}
    assert errors[graph.outputs[0]].sqnr_db > 22
    assert errors[graph.outputs[0]].cosine > 0.995


def test_the_exported_file_computes_the_same_bytes() -> None:
    graph = float_graph(7)
    quantised = quantize(graph, inputs(graph, 8, 0))
    data = export_tflite(quantised)
    oracle = Micro(data)
    for case in inputs(graph, 5, 1):
        codes = integer_case(quantised, case)
        (want,) = run(quantised, codes)
        np.testing.assert_array_equal(run(import_tflite(data, "net"), codes)[0], want)
        np.testing.assert_array_equal(oracle.run(codes, 1)[0], want)


def test_moved_and_joined_tensors_share_a_scale() -> None:
    graph = float_graph(2)
    quantised = quantize(graph, inputs(graph, 8, 0))
    for node in quantised.nodes:
        if node.op.name in ("concat", "max_pool2d", "average_pool2d", "transpose", "reshape"):
            operands = quantised.operands(node)
            assert {x.quant for x in operands.activations} == {operands.output.quant}


def observed(values: Array) -> Statistics:
    low, high = float(values.min()), float(values.max())
    counts = np.histogram(values, 2048, (low, high))[0].astype(np.float64)
    return Statistics(low, high, counts, np.zeros(1))


@pytest.mark.parametrize(("method", "most"), [("percentile", 6), ("mse", 36), ("entropy", 36)])
def test_a_lone_outlier_is_cut_off(method: str, most: float) -> None:
    values = np.random.default_rng(0).normal(0, 1, 200_000)
    values[0] = 40
    chosen = METHODS[method](observed(values))
    assert 2.5 < chosen.high < most


def test_mse_finds_the_least_error_of_its_candidates() -> None:
    values = np.random.default_rng(1).laplace(0, 1, 50_000)
    seen = observed(values)

    def error(chosen: Range) -> float:
        quant = quant_of(chosen)
        codes = np.clip(np.rint(values / quant.scale) + quant.zero_point, -128, 127)
        return float(np.square((codes - quant.zero_point) * quant.scale - values).mean())

    best = error(METHODS["mse"](seen))
    assert best <= error(METHODS["minmax"](seen))
    assert all(
        best < 1.05 * error(Range(s * seen.low, s * seen.high)) for s in np.linspace(0.2, 1, 20)
    )


def test_weight_scales_are_no_worse_than_the_widest_value() -> None:
    weights = np.random.default_rng(2).normal(0, 1, (5, 3, 3, 7)).astype(np.float32)
    quant = weight_quant(weights, 0, np.zeros(5))
    widest = np.abs(weights).reshape(5, -1).max(axis=1) / 127
    plain = replace(quant, scales=tuple(float(s) for s in widest))
    for channel in range(5):
        errors = [
            np.square(integers(weights, q)[channel] * q.scales[channel] - weights[channel]).sum()
            for q in (quant, plain)
        ]
        assert errors[0] <= errors[1] * (1 + 1e-6)


def test_a_bias_too_large_for_its_scale_widens_the_weights_scale() -> None:
    bias = np.array([1e6, 0.0])
    x, y = Quant.per_tensor(1e-3), Quant.per_tensor(1.0)
    least = least_scales(bias, x, y, INT8)
    quant = weight_quant(np.full((2, 1), 1e-6, np.float32), 0, least)
    assert bias[0] / (quant.scales[0] * 1e-3) <= 2**30 * 1.001


def test_bias_correction_centres_the_error() -> None:
    graph = float_graph(3)
    cases = inputs(graph, 64, 3)
    statistics = calibrate(graph, cases)
    assert statistics[graph.inputs[0]].channel_means.shape == (12,)
    quantised = quantize(graph, cases, "minmax")
    output = quantised.output_tensors[0]
    float_outputs = [statistics[graph.outputs[0]].channel_means]
    codes = [run(quantised, integer_case(quantised, case))[0] for case in cases]
    means = np.mean([(c[0].astype(float) - output.zero_point) * output.scale for c in codes], 0)
    assert np.abs(means - float_outputs[0]).max() < output.scale


def test_values_that_hardly_vary_have_a_histogram() -> None:
    """In float32 there are no 2048 numbers between 1 and the next one."""
    graph = float_graph(0)
    (name,) = graph.inputs
    shape = graph.tensors[name].shape
    x = np.ones(shape, np.float32)
    x.flat[0] = np.nextafter(np.float32(1), np.float32(2))
    assert calibrate(graph, [[x]])[name].counts.sum() == x.size


def test_data_is_needed_and_must_be_finite() -> None:
    graph = float_graph(0)
    with pytest.raises(UsageError, match="no calibration data"):
        quantize(graph)
    cases = inputs(graph, 2, 0)
    cases[1][0][0, 0, 0, 0] = np.nan
    with pytest.raises(UsageError, match=r"case 1.*not finite") as caught:
        quantize(graph, cases)
    assert graph.inputs[0] in (caught.value.where or "")
