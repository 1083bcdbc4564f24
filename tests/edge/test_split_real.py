"""A real face detector in parts: what the package computes against onnxruntime on photographs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.data import shared_data
from tests.edge.test_split import network, sqnr_db
from toolchain.cli import main
from toolchain.ir import Array

SIZE = (320, 240)


def photographs(paths: list[Path]) -> Array:
    """Return images float32 (N, 3, 240, 320), and their mirror images, as the detector wants."""
    pillow = pytest.importorskip("PIL.Image")
    found = []
    for path in paths:
        pixels = np.asarray(pillow.open(path).convert("RGB").resize(SIZE), np.float32)
        found += [pixels, pixels[:, ::-1]]
    return (np.stack(found) - 127).transpose(0, 3, 1, 2) / np.float32(128)


@pytest.mark.slow
def test_a_face_detector_in_parts_equals_onnxruntime(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    folder = shared_data() or Path()
    file = folder / "models/onnx/ultraface/version-RFB-320.onnx"
    images = sorted((folder / "datasets/images_ccby").glob("*.*"))
    if not file.is_file() or len(images) < 6:
        pytest.skip("the real model or its photographs are not here")
    np.save(tmp_path / "calib.npy", photographs(images[:4]))
    (tmp_path / "net.onnx").symlink_to(file)
    words = ["--engine", "onnxruntime", "--engine-for", "Softmax", "--engine-for", "Exp"]
    words += ["--data", str(tmp_path / "calib.npy"), "-o", str(tmp_path / "build"), "--json"]
    assert main(["compile", str(tmp_path / "net.onnx"), "--board", "host", *words]) == 0
    parts = json.loads(capsys.readouterr().out)["result"]["parts"]
    assert [(one["by"], one["count"]) for one in parts] == [("compiled", 150), ("onnxruntime", 13)]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(file), options)
    x = photographs(images[4:])
    made = network(tmp_path).run(x)
    for place, bound in ((0, 45), (1, 45)):
        port = session.get_outputs()[place].name
        want = np.concatenate([session.run([port], {"input": one[None]})[0] for one in x])
        assert made[place].shape == want.shape
        assert sqnr_db(made[place], want) > bound
