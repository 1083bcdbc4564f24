from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from tests.cli.test_quantize import call
from tests.formats.onnx_graphs import helper
from tests.formats.onnx_graphs import model as onnx_model
from tests.quantization.networks import float_cnn, float_graph, inputs
from toolchain.cli import main
from toolchain.cli.images import image_files, preprocess_steps
from toolchain.reference import run_float


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "net.onnx"
    path.write_bytes(float_cnn(1))
    return path


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Return samples whose labels are the float network's answers, but for one in three."""
    graph = float_graph(1)
    cases = inputs(graph, 24, 0)
    labels = np.array([run_float(graph, case)[0].argmax() for case in cases])
    labels[::3] = (labels[::3] + 1) % 10
    path = tmp_path / "test.npz"
    np.savez(path, x=np.concatenate([case[0] for case in cases]), labels=labels)
    return path


def test_all_targets_are_measured_on_labelled_arrays(
    capsys: pytest.CaptureFixture[str], model: Path, labelled: Path, tmp_path: Path
) -> None:
    target = tmp_path / "net.tflite"
    on = [word for name in ("float", "interpreter", "host", "emulator") for word in ("--on", name)]
    page = tmp_path / "report.html"
    code, envelope = call(
        capsys, "quantize", model, "--data", labelled, "--eval", labelled, *on, "-o", target,
        "--confusion", "--drop-per-layer", "--per-layer-report", page, "--keep-layout",
    )  # fmt: skip
    assert code == 0
    accuracy = envelope["result"]["accuracy"]
    figures = {one["name"]: one for one in accuracy["targets"]}
    assert figures["float"]["top1"] == pytest.approx(2 / 3)
    assert figures["host"] == {**figures["interpreter"], "name": "host"}
    assert figures["emulator"] == {**figures["interpreter"], "name": "emulator"}
    assert figures["interpreter"]["same_class_as_float"] > 0.85
    assert np.sum(accuracy["confusion"]) == 24
    assert len(accuracy["drops"]) > 5
    text = page.read_text()
    assert not re.search(r"https?://|<script|<link", text)
    assert all(name in text for name in ("emulator", "SQNR", "conv2d"))
    code, again = call(capsys, "eval", target, "--data", labelled, "--reference", model)
    assert code == 0
    assert again["result"]["targets"][1]["top1"] == figures["interpreter"]["top1"]
    code, _ = call(capsys, "eval", target, "--data", labelled, "--threshold", "0.95")
    assert code == 4
    assert main(["eval", str(target), "--data", str(labelled), "--confusion"]) == 0
    assert "class 3" in capsys.readouterr().out


def test_inputs_of_another_range_are_refused_by_name(
    capsys: pytest.CaptureFixture[str], model: Path, labelled: Path, tmp_path: Path
) -> None:
    with np.load(labelled) as arrays:
        np.savez(tmp_path / "wide.npz", x=arrays["x"] * 255, labels=arrays["labels"])
        np.savez(tmp_path / "off.npz", x=arrays["x"], labels=arrays["labels"] + 10)
        np.savez(tmp_path / "few.npz", x=arrays["x"], labels=arrays["labels"][:5])
    for file, code, word in (("wide", "E124", '"x"'), ("off", "E122", "10 classes"),
                             ("few", "E122", "5 labels")):  # fmt: skip
        exit_code, envelope = call(
            capsys, "quantize", model, "--data", labelled, "--eval", tmp_path / f"{file}.npz"
        )
        assert (exit_code, envelope["error"]["code"]) == (2, code)
        assert word in envelope["error"]["what"]


def test_an_autoencoder_is_judged_by_its_error(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.normal(0, 1, (12, 4)))[0].astype(np.float32)
    nodes = [
        helper.make_node("Gemm", ["x", "down"], ["h"], transB=1),
        helper.make_node("Gemm", ["h", "up"], ["y"], transB=1),
    ]
    constants = {"down": directions.T.copy(), "up": directions.copy()}
    model = tmp_path / "ae.onnx"
    model.write_bytes(onnx_model(nodes, {"x": [1, 12]}, constants))
    normal = rng.normal(0, 1, (60, 4)) @ directions.T
    odd = rng.normal(0, 1, (30, 12))
    x = np.concatenate([normal, odd]).astype(np.float32)
    np.savez(tmp_path / "test.npz", x=x, labels=np.repeat([0, 1], [60, 30]))
    code, envelope = call(
        capsys, "quantize", model, "--data", tmp_path / "test.npz", "--eval", tmp_path / "test.npz",
        "-o", tmp_path / "ae.tflite",
    )  # fmt: skip
    assert code == 0
    for one in envelope["result"]["accuracy"]["targets"]:
        assert one["auc"] > 0.97
        assert one["mse"] == pytest.approx(np.square(x - x @ directions @ directions.T).mean(), 0.1)


def test_images_of_a_folder_per_class_are_samples(
    capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path
) -> None:
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    for number, name in enumerate(("cat", "dog")):
        (tmp_path / "images" / name).mkdir(parents=True)
        for index in range(3):
            pixels = rng.integers(0, 256, (20, 30, 3), np.uint8) // (number + 1)
            image.fromarray(pixels).save(tmp_path / "images" / name / f"{index}.png")
    folder = tmp_path / "images"
    code, envelope = call(
        capsys, "quantize", model, "--data", folder, "--eval", folder, "--preprocess",
        "bgr,/255,-0.5:0.4:0.3", "-o", tmp_path / "net.tflite",
    )  # fmt: skip
    assert code == 0
    assert envelope["result"]["accuracy"]["cases"] == 6
    assert "top1" in envelope["result"]["accuracy"]["targets"][0]
    (folder / "dog" / "bad.png").write_bytes(b"no image")
    code, envelope = call(capsys, "quantize", model, "--data", folder)
    assert (code, envelope["error"]["code"]) == (2, "E121")
    assert "bad.png" in envelope["error"]["where"]


def test_folders_named_by_numbers_are_these_classes(
    capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path
) -> None:
    """Class 10 is not the third of "0", "2" and "10", and no class is missed out."""
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    for name in ("2", "10", "0"):
        (tmp_path / "images" / name).mkdir(parents=True)
        pixels = rng.integers(0, 256, (16, 12, 3), np.uint8)
        image.fromarray(pixels).save(tmp_path / "images" / name / "one.png")
    _, classes = image_files(tmp_path / "images")
    assert classes == [0, 10, 2]
    code, envelope = call(
        capsys, "quantize", model, "--data", tmp_path / "images", "--eval", tmp_path / "images"
    )
    assert (code, envelope["error"]["code"]) == (2, "E122")
    assert "labels from 0 to 10, but there are 10 classes" in envelope["error"]["what"]


def test_steps_apply_in_order_to_channels() -> None:
    pixels = np.array([[[255.0, 0.0, 51.0]]], np.float32)
    for step in preprocess_steps("bgr, /255, -0.1:0.2:0.3, *2"):
        pixels = step(pixels)
    np.testing.assert_allclose(pixels, [[[0.2, -0.4, 1.4]]], atol=1e-6)


@pytest.mark.parametrize("text", ["gray", "/0", "/", "*x", "-1e999"])
def test_steps_that_mean_nothing_are_refused(
    capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path, text: str
) -> None:
    image = pytest.importorskip("PIL.Image")
    image.new("RGB", (4, 4)).save(tmp_path / "one.png")
    code, envelope = call(capsys, "quantize", model, "--data", tmp_path, "--preprocess", text)
    assert (code, envelope["error"]["code"]) == (2, "E101")
    assert text in envelope["error"]["what"]
