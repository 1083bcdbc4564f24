from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.formats.test_onnx_open import branching
from tests.quantization.networks import float_cnn, float_graph, inputs
from toolchain.cli import main
from toolchain.importers import import_any, import_model
from toolchain.ir import DType


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, Any]]:
    code = main([*map(str, words), "--json"])
    return code, json.loads(capsys.readouterr().out)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "net.onnx"
    path.write_bytes(float_cnn(1))
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "calib.npz"
    np.savez(path, x=np.concatenate([case[0] for case in inputs(float_graph(1), 12, 0)]))
    return path


def test_a_float_model_becomes_an_int8_file_with_channels_last(
    capsys: pytest.CaptureFixture[str], model: Path, data: Path, tmp_path: Path
) -> None:
    target, labels = tmp_path / "net.tflite", tmp_path / "labels.npy"
    np.save(labels, np.zeros(12, np.int64))
    code, envelope = call(
        capsys, "quantize", model, "--data", data, "-o", target, "--eval", data, "--labels", labels
    )
    assert code == 0
    graph = import_model(target)
    assert graph.input_tensors[0].shape == (1, 16, 12, 3)
    assert "transpose" not in {node.op.name for node in graph.nodes}
    result = envelope["result"]
    assert result["layers"][-1]["sqnr_db"] > 20
    real, int8 = result["accuracy"]["targets"]
    assert abs(real["top1"] - int8["top1"]) <= 2 / 12
    assert "12 samples" in envelope["warnings"][0]


def test_activations_may_have_sixteen_bits(
    capsys: pytest.CaptureFixture[str], model: Path, data: Path, tmp_path: Path
) -> None:
    target = tmp_path / "net.tflite"
    words = ("quantize", model, "--data", data, "-o", target, "--activations", "int16")
    code, envelope = call(capsys, *words)
    assert code == 0
    assert envelope["result"]["activations"] == "int16"
    assert {x.dtype for x in import_model(target).input_tensors} == {DType.INT16}
    code, envelope = call(capsys, *words, "--method", "mse")
    assert (code, envelope["error"]["code"]) == (2, "E101")


def test_some_activations_may_have_sixteen_bits(
    capsys: pytest.CaptureFixture[str], model: Path, data: Path, tmp_path: Path
) -> None:
    target, page = tmp_path / "net.tflite", tmp_path / "page.html"
    words = ("quantize", model, "--data", data, "-o", target, "--per-layer-report", page)
    code, envelope = call(capsys, *words, "--int16", "p")
    assert code == 0
    assert envelope["result"]["int16"] == ["p"]
    types = {one["tensor"]: one["dtype"] for one in envelope["result"]["layers"]}
    assert types["p"] == "int16"
    assert types["y"] == "int8"
    assert "Float against int8 and int16 activations" in page.read_text(encoding="utf-8")
    assert {x.dtype for x in import_model(target).input_tensors} == {DType.INT8}
    code, envelope = call(capsys, *words, "--mixed", 47)
    assert code == 0
    assert 0 < len(envelope["result"]["int16"]) < len(types)
    assert envelope["result"]["layers"][-1]["sqnr_db"] > 44  # the target holds for eight cases
    assert call(capsys, *words, "--mixed", 99)[1]["error"]["code"] == "E308"
    for bad in (("--activations", "int16", "--mixed", 30), ("--int16", "p", "--mixed", 30)):
        assert call(capsys, *words, *bad)[1]["error"]["code"] == "E101"


def test_some_layers_may_have_four_bits(
    capsys: pytest.CaptureFixture[str], model: Path, data: Path, tmp_path: Path
) -> None:
    target = tmp_path / "net.tflite"
    words = ("quantize", model, "--data", data, "-o", target, "--int4", "conv2d_*")
    code, envelope = call(capsys, *words)
    assert code == 0
    assert len(envelope["result"]["int4"]) == 2
    narrow = [x for x in import_model(target).tensors.values() if x.dtype is DType.INT4]
    assert len(narrow) == 2
    for bad, why in (("--activations", "int16"), "E101"), (("--int4", "none"), "E114"):
        assert call(capsys, *words, *bad)[1]["error"]["code"] == why


def test_learned_rounding_without_pytorch_names_the_extra(
    capsys: pytest.CaptureFixture[str], model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    code, envelope = call(capsys, "quantize", model, "--data", data, "--rounding", "adaround")
    assert (code, envelope["error"]["code"]) == (2, "E203")
    assert envelope["error"]["hints"] == ['pip install "tessera[torch]"']


def test_open_inputs_get_shapes_and_values(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path, target, data = tmp_path / "open.onnx", tmp_path / "net.tflite", tmp_path / "x.npy"
    path.write_bytes(branching())
    np.save(data, np.random.default_rng(0).normal(0, 1, (9, 1, 7)).astype(np.float32))
    words = ("quantize", path, "--data", data, "-o", target, "--constant", "rate=16")
    code, envelope = call(capsys, *words)
    assert (code, envelope["error"]["code"]) == (2, "E207")
    assert "--shape x=N,N" in envelope["error"]["hints"][0]
    code, envelope = call(capsys, *words, "--shape", "x=1,7")
    assert code == 0
    assert envelope["result"]["inputs"] == [[1, 7]]
    code, envelope = call(capsys, "inspect", path, "--constant", "rate=16", "--shape", "x=1,7")
    assert code == 0
    assert [layer["op"] for layer in envelope["result"]["layers"]] == ["tanh", "mul"]
    code, envelope = call(capsys, *words, "--shape", "x=1,a")
    assert (code, envelope["error"]["code"]) == (2, "E101")


def test_compile_of_a_float_model_tells_to_quantise(
    capsys: pytest.CaptureFixture[str], model: Path
) -> None:
    code, envelope = call(capsys, "compile", model, "--board", "nucleo_f446re")
    assert code == 2
    assert envelope["error"]["code"] == "E202"
    assert envelope["error"]["hints"][0].startswith(f"tessera quantize {model} --data")


def bad_data(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / "bad.npy"
    good = inputs(float_graph(1), 3, 0)
    array = np.concatenate([case[0] for case in good])
    match kind:
        case "shape":
            array = array[:, :, :5]
        case "type":
            array = array.astype(np.float64)
        case "infinite":
            array[2, 0, 0, 0] = np.inf
        case "constant":
            array = np.full_like(array, 0.5)
        case "empty":
            array = array[:0]
    np.save(path, array)
    return path


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("shape", "E122"),
        ("type", "E122"),
        ("infinite", "E115"),
        ("empty", "E122"),
        ("constant", "E115"),
    ],
)
def test_wrong_data_is_refused_and_nothing_written(
    capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path, kind: str, code: str
) -> None:
    target = tmp_path / "net.tflite"
    data = bad_data(tmp_path, kind)
    exit_code, envelope = call(capsys, "quantize", model, "--data", data, "-o", target)
    assert (exit_code, envelope["error"]["code"]) == (2, code)
    assert not target.exists()


def test_any_model_is_read_once(model: Path, data: Path, tmp_path: Path) -> None:
    graph, is_float = import_any(model)
    assert is_float
    assert graph.input_tensors[0].dtype is DType.FLOAT32
    target = tmp_path / "net.tflite"
    assert main(["quantize", str(model), "--data", str(data), "-o", str(target)]) == 0
    graph, is_float = import_any(target)
    assert not is_float
    assert graph.input_tensors[0].dtype is DType.INT8


def test_missing_data_is_named(capsys: pytest.CaptureFixture[str], model: Path) -> None:
    code, envelope = call(capsys, "quantize", model)
    assert (code, envelope["error"]["code"]) == (2, "E115")
    assert "float32[N, 1, 3, 16, 12]" in envelope["error"]["what"]


def test_inspect_counts_a_float_model_as_the_int8_model_it_becomes(
    capsys: pytest.CaptureFixture[str], model: Path, data: Path, tmp_path: Path
) -> None:
    target = tmp_path / "net.tflite"
    call(capsys, "quantize", model, "--data", data, "-o", target, "--keep-layout")
    _, before = call(capsys, "inspect", model)
    _, after = call(capsys, "inspect", target)
    assert before["result"]["float"]
    assert before["result"]["inputs"][0]["dtype"] == "float32"
    for key in ("macs", "ram_lower_bound_bytes"):
        assert before["result"][key] == after["result"][key]
    assert main(["inspect", str(model)]) == 0
    assert "a float model; as int8" in capsys.readouterr().out
