"""A transformer all the way: an ONNX file, int8, C for a microcontroller, the emulator."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.cli.test_quantize import call
from tests.formats.onnx_graphs import truth
from tests.formats.transformer import vision_transformer
from toolchain.importers import import_model
from toolchain.importers.onnx import import_onnx
from toolchain.ir import Array, DType
from toolchain.quantization import compare_layers, quantize
from toolchain.reference import run_float


def images(count: int, seed: int) -> Array:
    return np.random.default_rng(seed).normal(0, 1, (count, 3, 16, 16)).astype(np.float32)


def test_the_parts_are_one_operator_each_and_equal_onnxruntime() -> None:
    data = vision_transformer(0)
    graph, x = import_onnx(data, "net"), images(1, 0)
    np.testing.assert_allclose(run_float(graph, [x])[0], truth(data, [x])[0], rtol=1e-4, atol=1e-4)
    found = Counter(node.op.name for node in graph.nodes)
    assert (found["layer_norm"], found["gelu"], found["softmax"]) == (5, 2, 2)
    assert found["batch_matmul"] == 4
    assert not {"mul", "sub", "mean", "erf", "rsqrt", "sqrt"} & found.keys()


@pytest.mark.parametrize("seed", range(3))
def test_int8_outputs_stay_near_the_float_network(seed: int) -> None:
    graph = import_onnx(vision_transformer(seed), "net")
    quantised = quantize(graph, [[x[None]] for x in images(16, seed)])
    errors = compare_layers(graph, quantised, [[x[None]] for x in images(8, seed + 10)])
    assert {e.tensor: e.sqnr_db for e in errors}[graph.outputs[0]] > 25


def test_normalisation_and_products_keep_16_bits() -> None:
    graph = import_onnx(vision_transformer(0), "net")
    wide = quantize(graph, [[x[None]] for x in images(16, 0)], activations="int16")
    types = {node.op.name: wide.operands(node).output.dtype for node in wide.nodes}
    assert types["layer_norm"] is types["batch_matmul"] is types["softmax"] is DType.INT16
    errors = compare_layers(graph, wide, [[x[None]] for x in images(8, 10)])
    assert {e.tensor: e.sqnr_db for e in errors}[graph.outputs[0]] > 33


def test_from_a_file_to_the_emulator(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file, data, int8 = (tmp_path / name for name in ("vit.onnx", "calib.npz", "vit.tflite"))
    file.write_bytes(vision_transformer(1))
    np.savez(data, x=images(12, 1))
    assert call(capsys, "quantize", file, "--data", data, "-o", int8)[0] == 0
    assert "layer_norm" in {node.op.name for node in import_model(int8).nodes}
    folder = tmp_path / "build"
    assert call(capsys, "compile", int8, "--board", "nucleo_h743zi", "-o", folder)[0] == 0
    code, envelope = call(capsys, "test", folder)
    assert code == 0
    assert [one["mismatched_bytes"] for one in envelope["result"]["targets"]] == [0, 0]
