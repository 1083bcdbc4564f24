"""int8 and int16 activations in one network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.ops.harness import assert_c_equals_reference
from tests.oracle.runtimes import Micro
from tests.quantization.networks import float_graph, inputs
from tests.quantization.test_equalize import uneven
from toolchain.errors import FitError, UsageError
from toolchain.exporters.tflite import export_tflite
from toolchain.importers.tflite import import_tflite
from toolchain.ir import DType, Graph, run
from toolchain.quantization import compare_layers, quantize, quantize_mixed
from toolchain.quantization.mixed import sensitivities
from toolchain.quantization.report import integer_case


def random_mixed(rng: np.random.Generator) -> Graph:
    """Return a network where some activations, drawn at random, have 16 bits."""
    graph = (float_graph, uneven)[int(rng.integers(2))](int(rng.integers(100)))
    names = [*graph.inputs, *(node.name for node in graph.nodes)]
    chosen = rng.choice(names, int(rng.integers(1, 6)), replace=False)
    return quantize(graph, inputs(graph, 4, 0), int16=[str(name) for name in chosen])


@pytest.mark.parametrize("seed", range(12))
def test_mixed_networks_compute_the_same_in_tflite_micro(seed: int) -> None:
    quantised = random_mixed(np.random.default_rng(seed))
    data = export_tflite(quantised)
    again, oracle = import_tflite(data, "net"), Micro(data)
    for case in inputs(quantised, 3, seed):
        codes = integer_case(quantised, case)
        (want,) = run(quantised, codes)
        np.testing.assert_array_equal(run(again, codes)[0], want)
        np.testing.assert_array_equal(oracle.run(codes, 1)[0], want)


@pytest.mark.slow
def test_mixed_networks_compute_the_same_in_c(tmp_path: Path) -> None:
    assert_c_equals_reference(random_mixed, tmp_path, cases=10)


def test_only_what_is_named_has_sixteen_bits() -> None:
    graph = float_graph(2)
    cases = inputs(graph, 16, 2)
    quantised = quantize(graph, cases, int16=["p"])
    wide = {x.name for x in quantised.tensors.values() if x.dtype is DType.INT16}
    assert {name for name in wide if name in graph.tensors} == {"p"}
    assert quantised.output_tensors[0].dtype is DType.INT8
    operands = {node.op.name: quantised.operands(node) for node in quantised.nodes}
    assert operands["add"].input(1).dtype is DType.INT16  # reads p, and the other side converted
    assert operands["add"].output.dtype is DType.INT16
    assert operands["fully_connected"].input(0).dtype is DType.INT8
    directions = {
        (quantised.operands(node).input(0).dtype, quantised.operands(node).output.dtype)
        for node in quantised.nodes
        if node.op.name == "quantize"
    }
    assert {(DType.INT8, DType.INT16), (DType.INT16, DType.INT8)} <= directions
    narrow = {e.tensor: e.sqnr_db for e in compare_layers(graph, quantize(graph, cases), cases)}
    mixed = {e.tensor: e.sqnr_db for e in compare_layers(graph, quantised, cases)}
    assert mixed["p"] > narrow["p"]


def test_names_may_be_layers_or_patterns_and_bring_what_shares_their_scale() -> None:
    graph = float_graph(2)
    cases = inputs(graph, 4, 2)
    (layer,) = (node.name for node in graph.nodes if "p" in node.outputs)

    def lifted(*names: str) -> set[str]:
        made = quantize(graph, cases, int16=names).tensors.values()
        return {x.name for x in made if x.dtype is DType.INT16}

    assert lifted(layer) == lifted("p")
    assert {"mp", "ap", "c", "s", "m"} <= lifted("max_pool2d*")  # one scale from s to the concat
    with pytest.raises(UsageError, match="is called convolution") as caught:
        quantize(graph, cases, int16=["convolution"])
    assert caught.value.code == "E114"
    assert any("conv2d" in hint for hint in caught.value.hints)


@pytest.mark.parametrize("seed", range(3))
def test_as_few_activations_as_the_target_needs(seed: int) -> None:
    graph = uneven(seed)
    cases = inputs(graph, 16, seed)
    counts, reached = [], []
    for target in (15.0, 35.0, 47.0):
        mixed = quantize_mixed(graph, cases, target)
        assert mixed.sqnr_db >= mixed.cautious_db >= target
        reached.append(mixed.sqnr_db)
        counts.append(len(mixed.ready.wide))
    assert counts == sorted(counts)
    assert counts[0] == 0 < counts[-1]
    with pytest.raises(FitError, match="120 dB are out of reach") as caught:
        quantize_mixed(graph, cases, 120)
    assert caught.value.code == "E308"
    assert caught.value.numbers["reached_db"] > reached[-1] - 1


def test_the_target_holds_on_samples_that_nobody_measured() -> None:
    """On the whole: a few samples cannot tell how large the values of all others are."""
    beyond = []
    for seed in (0, 2):
        graph = uneven(seed)
        mixed = quantize_mixed(graph, inputs(graph, 48, seed), 47.0)
        assert mixed.kept_back == 12
        others = inputs(graph, 48, seed + 70)
        beyond.append(compare_layers(mixed.ready.graph, mixed.graph, others)[-1].sqnr_db - 47)
    assert min(beyond) > -2
    assert np.mean(beyond) > 0


def test_few_samples_are_not_kept_back() -> None:
    graph = uneven(0)
    mixed = quantize_mixed(graph, inputs(graph, 15, 0), 20.0)
    assert mixed.kept_back == 0
    assert mixed.calibration_db == mixed.sqnr_db


def test_noise_of_single_activations_adds_up() -> None:
    graph = float_graph(1)
    cases = inputs(graph, 16, 1)
    names, costs = sensitivities(graph, cases, cases, "minmax", equalize=True)
    assert len(set(names)) == len(names)
    assert list(costs[:, 0]) == sorted(costs[:, 0], reverse=True)
    lifted = quantize(graph, cases, activations="int16")
    narrow = quantize(graph, cases)
    noise = [
        10 ** (-compare_layers(graph, one, cases)[-1].sqnr_db / 10) for one in (narrow, lifted)
    ]
    assert 0.3 < (noise[0] - noise[1]) / costs.sum() < 3
