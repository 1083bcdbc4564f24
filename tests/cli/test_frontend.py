"""``--frontend``: the C of a front end in the project, counted and linked."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.graphs import Builder
from toolchain.cli import main
from toolchain.exporters.tflite import export_tflite
from toolchain.ops import Reshape

KEYWORDS = ROOT / "examples/keywords/mfcc.toml"


def keyword_model(folder: Path, features: int) -> Path:
    builder = Builder(np.random.default_rng(0))
    x = builder.input((1, 49, features, 1))
    graph = builder.graph(builder.fully_connected(builder.alike(Reshape((1, 49 * features)), x), 4))
    path = folder / "kws.tflite"
    path.write_bytes(export_tflite(graph))
    return path


def test_a_project_links_with_its_front_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, folder = keyword_model(tmp_path, 10), tmp_path / "build"
    words = ["compile", str(model), "--board", "nucleo_f446re", "-o", str(folder), "--json"]
    assert main(words) == 0
    plain = json.loads(capsys.readouterr().out)["result"]
    assert main([*words, "--frontend", str(KEYWORDS)]) == 0
    heard = json.loads(capsys.readouterr().out)["result"]
    assert heard["ram_total_bytes"] > plain["ram_total_bytes"] + 4 * 512
    assert heard["arena_bytes"] == plain["arena_bytes"]
    assert (folder / "lib/kws/include/kws_audio.h").exists()
    assert main(["build", str(folder), "--quiet"]) == 0


def test_features_that_do_not_fill_the_input_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = keyword_model(tmp_path, 9)
    words = ["compile", str(model), "--board", "nucleo_f446re", "-o", str(tmp_path / "build")]
    assert main([*words, "--frontend", str(KEYWORDS)]) == 2
    assert "E144" in capsys.readouterr().err
    assert not (tmp_path / "build").exists()
