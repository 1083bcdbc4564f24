"""4-bit weights beside int8 activations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.quantization.networks import float_graph, inputs
from toolchain.errors import UsageError
from toolchain.exporters.tflite import export_tflite
from toolchain.importers import import_model
from toolchain.ir import DType, Graph, run
from toolchain.passes import channels_last_inputs, simplify
from toolchain.quantization import compare_layers, quantize


def narrow(graph: Graph) -> set[str]:
    return {
        node.name
        for node in graph.nodes
        for name in node.inputs[1:2]
        if name and graph.tensors[name].dtype is DType.INT4
    }


def test_layers_are_chosen_by_name() -> None:
    graph = float_graph(0)
    cases = inputs(graph, 8, 0)
    weighted = {n.name for n in graph.nodes if n.op.name.endswith(("conv2d", "connected"))}
    assert narrow(quantize(graph, cases, int4=["*"])) == weighted
    (last,) = (name for name in weighted if name.startswith("fully"))
    assert narrow(quantize(graph, cases, int4=[last])) == {last}
    assert narrow(quantize(graph, cases, int4=["*"], activations="int16")) == set()
    with pytest.raises(UsageError, match="no convolution or fully connected") as caught:
        quantize(graph, cases, int4=["fully_conected_9"])
    assert caught.value.hints[0] == f"--int4 {last}"


@pytest.mark.parametrize("rounding", ["reconstruct", "nearest"])
def test_integers_have_four_bits_and_stand_for_the_float_weights(rounding: str) -> None:
    graph = float_graph(1)
    cases, test = inputs(graph, 32, 1), inputs(graph, 16, 51)
    made = quantize(graph, cases, int4=["*"], rounding=rounding, equalize=False)
    for tensor in made.tensors.values():
        if tensor.dtype is DType.INT4:
            assert np.abs(tensor.values).max() == 7
    assert compare_layers(graph, made, test)[-1].sqnr_db > 28


def test_reconstruction_matters_more_for_four_bits() -> None:
    gains = []
    for seed in range(4):
        graph = float_graph(seed)
        cases, test = inputs(graph, 32, seed), inputs(graph, 16, seed + 50)
        plain, better = (
            compare_layers(graph, quantize(graph, cases, int4=["*"], rounding=one), test)[-1]
            for one in ("nearest", "reconstruct")
        )
        gains.append(better.sqnr_db - plain.sqnr_db)
    assert np.mean(gains) > 2


def test_files_with_four_bits_compute_the_same_here_and_in_litert(tmp_path: Path) -> None:
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    graph = float_graph(1)
    made = quantize(graph, inputs(graph, 32, 1), int4=["*"])
    path = tmp_path / "net.tflite"
    path.write_bytes(export_tflite(simplify(channels_last_inputs(made))))
    read = import_model(path)
    assert len(narrow(read)) == 4
    (tensor,) = read.input_tensors
    x = np.random.default_rng(0).integers(-128, 128, tensor.shape, dtype=np.int8)
    kinds = litert.OpResolverType
    other = litert.Interpreter(str(path), experimental_op_resolver_type=kinds.BUILTIN_REF)
    other.allocate_tensors()
    other.set_tensor(other.get_input_details()[0]["index"], x)
    other.invoke()
    answer = other.get_tensor(other.get_output_details()[0]["index"])
    np.testing.assert_array_equal(run(read, [x])[0], answer)
