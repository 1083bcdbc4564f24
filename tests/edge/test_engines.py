"""Packages that leave the model to another runtime, under the same API."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runtimes.edge import onnxruntime_engine, tflite_engine
from runtimes.edge.engines import engine_files
from tests.conftest import ROOT
from toolchain.cli import main
from toolchain.errors import UsageError
from toolchain.importers import import_model
from toolchain.ir import run


def write(files: dict[str, str | bytes], folder: Path) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def test_a_tflite_runtime_executes_a_file(tmp_path: Path) -> None:
    model = ROOT / "examples/digits/digits.tflite"
    graph = import_model(model)
    network = tflite_engine.Network(write(engine_files(model, "tflite", "net"), tmp_path) / "net")
    images = np.load(ROOT / "examples/digits/images.npy")[:5].reshape(5, *network.inputs[0].case)
    (y,) = network.run(images)
    for got, image in zip(y, images, strict=True):
        # The runtime's optimised kernels round once where the reference kernels round twice.
        assert np.abs(got.astype(int) - run(graph, [image[None]])[0][0]).max() <= 2


def test_onnxruntime_executes_a_file(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    node = helper.make_node("Mul", ["x", "x"], ["y"])
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 3]) for n in ("x", "y")]
    made = helper.make_model(
        helper.make_graph([node], "squares", ports[:1], ports[1:]),
        opset_imports=[helper.make_opsetid("", 17)], ir_version=9,
    )  # fmt: skip
    model = tmp_path / "squares.onnx"
    onnx.save(made, model)
    files = engine_files(model, "onnxruntime", "squares")
    network = onnxruntime_engine.Network(write(files, tmp_path) / "squares")
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    np.testing.assert_array_equal(network.run(x)[0], x * x)
    np.testing.assert_array_equal(network.predict(x[0])[0], (x * x)[:1])


@pytest.mark.parametrize("engine", ["onnxruntime", "tflite"])
def test_what_an_engine_cannot_read_is_refused(engine: str, tmp_path: Path) -> None:
    suffix = ".onnx" if engine == "onnxruntime" else ".tflite"
    for name in ("model.bin", f"model{suffix}"):
        (tmp_path / name).write_bytes(b"not a model, but long enough to look for a header")
        with pytest.raises(UsageError, match="E141"):
            engine_files(tmp_path / name, engine, "net")


def test_microcontrollers_have_no_engines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compile", "x.tflite", "--board", "nucleo_f446re", "--engine", "tflite"]
    assert main([*words, "-o", str(tmp_path / "build")]) == 2
    assert "E141" in capsys.readouterr().err
