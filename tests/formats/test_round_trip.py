"""Graphs written as .tflite and read back mean the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tests.graphs import Builder, random_graph
from tests.ops.harness import random_values
from tests.ops.test_lstm import random_lstm
from tests.ops.test_svdf import random_svdf
from tests.passes.clumsy import clumsy_graph, sliding_graph
from toolchain import ops
from toolchain.errors import ModelError
from toolchain.exporters.tflite import export_tflite
from toolchain.importers.tflite import import_tflite
from toolchain.ir import DType, Graph, Session, run
from toolchain.ops.spatial import Pads
from toolchain.passes import simplify


def assert_round_trip(graph: Graph, rng: np.random.Generator) -> None:
    again = import_tflite(export_tflite(graph), graph.name)
    assert again.inputs == graph.inputs
    assert again.outputs == graph.outputs
    one, other = Session(graph), Session(again)
    for _ in range(5 if graph.states else 1):
        inputs = [random_values(tensor, rng) for tensor in graph.input_tensors]
        for expected, got in zip(one.run(inputs), other.run(inputs), strict=True):
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("seed", range(100))
def test_a_written_graph_reads_back_with_the_same_meaning(seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert_round_trip(random_graph(rng), rng)


@pytest.mark.parametrize("seed", range(60))
def test_needless_work_survives_a_round_trip(seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert_round_trip(clumsy_graph(rng), rng)


@pytest.mark.parametrize("seed", range(30))
def test_states_survive_a_round_trip(seed: int) -> None:
    rng = np.random.default_rng(seed)
    graph = sliding_graph(rng)
    assert_round_trip(graph, rng)
    assert_round_trip(simplify(graph), rng)
    again = simplify(import_tflite(export_tflite(simplify(graph)), graph.name))
    assert [node.op for node in again.nodes] == [node.op for node in simplify(graph).nodes]


@pytest.mark.parametrize("make", [random_lstm, random_svdf])
def test_recurrent_layers_survive_a_round_trip(
    make: Callable[[np.random.Generator], Graph],
) -> None:
    for seed in range(30):
        rng = np.random.default_rng(seed)
        graph = make(rng)
        assert_round_trip(graph, rng)
        again = import_tflite(export_tflite(graph), graph.name)
        assert [node.op for node in again.nodes] == [node.op for node in graph.nodes]


def test_explicit_padding_comes_back_as_it_was() -> None:
    b = Builder(np.random.default_rng(0))
    x = b.input((1, 9, 9, 2))
    odd = Pads(2, 0, 1, 3)
    graph = b.graph(
        b.conv2d(x, 3, op=ops.Conv2D(pads=odd)),
        b.alike(ops.MaxPool2D((4, 4), pads=odd), x),
    )
    again = simplify(import_tflite(export_tflite(graph), "again"))
    assert [node.op for node in again.nodes] == [node.op for node in graph.nodes]


def test_writing_is_deterministic() -> None:
    first, second = (random_graph(np.random.default_rng(3)) for _ in range(2))
    assert export_tflite(first) == export_tflite(second)


def test_what_the_format_cannot_say_is_refused() -> None:
    b = Builder(np.random.default_rng(0))
    x = b.input((1, 9, 9, 2))
    average = b.graph(b.alike(ops.AveragePool2D((4, 4), pads=Pads(3, 0, 0, 0)), x))
    with pytest.raises(ModelError, match="neither SAME nor VALID"):
        export_tflite(average)


def test_convolution_weights_with_a_zero_point_are_refused() -> None:
    b = Builder(np.random.default_rng(0))
    y = b.conv2d(b.input((1, 9, 9, 2)), 3)
    (weights,) = (t for t in b.tensors.values() if t.name.startswith("weights"))
    assert weights.quant is not None
    shifted = replace(weights.quant, zero_points=(3,) * len(weights.quant.zero_points))
    b.tensors[weights.name] = replace(weights, quant=shifted)
    with pytest.raises(ModelError, match="zero point 0"):
        export_tflite(b.graph(y))


def test_inputs_of_legacy_type_stay_uint8() -> None:
    b = Builder(np.random.default_rng(0))
    x = b.input((1, 4), DType.UINT8)
    (y,) = b.apply(ops.Quantize(), [x], b.quant(x.scale))
    rng = np.random.default_rng(0)
    graph = b.graph(y)
    again = import_tflite(export_tflite(graph), "again")
    assert [t.dtype for t in again.input_tensors] == [DType.UINT8]
    values = [random_values(x, rng)]
    np.testing.assert_array_equal(run(again, values)[0], run(graph, values)[0])
