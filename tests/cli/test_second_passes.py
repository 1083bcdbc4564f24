"""Plans that execute nodes again, from the command line: shown, saved, edited, compiled."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.cli.test_verbs import BOARD, call
from tests.plan.networks import random_mobile_network
from toolchain.cli import main
from toolchain.exporters.tflite import export_tflite


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "gated.tflite"
    graph = random_mobile_network(np.random.default_rng(0), gates=True)
    path.write_bytes(export_tflite(graph))
    return path


def test_second_passes_are_shown_saved_and_compiled(
    capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path
) -> None:
    saved, page, folder = (tmp_path / name for name in ("plan.json", "plan.html", "build"))
    words = "plan", model, "--board", BOARD, "--max-macs", "1.5x"
    _, envelope = call(capsys, *words, "-o", saved, "--html", page)
    chosen = envelope["result"]["chosen"]
    (repeat,) = chosen["repeats"]
    stages = [node for stage in chosen["stages"] for node in stage["nodes"]]
    assert {f"{name}#2" for name in repeat["nodes"]} < set(stages)
    assert "Executed again for" in page.read_text()
    assert main([*map(str, words)]) == 0
    assert f"executed again for {repeat['readers'][0]}" in capsys.readouterr().out
    code, _ = call(capsys, "compile", model, "--board", BOARD, "--plan", saved, "-o", folder)
    assert code == 0
    assert repeat["nodes"][0] in next(folder.rglob("gated.c")).read_text().split("#include")[0]


def test_a_plan_edited_to_repeat_other_nodes_is_refused(
    capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path
) -> None:
    saved = tmp_path / "plan.json"
    call(capsys, "plan", model, "--board", BOARD, "--max-macs", "1.5x", "-o", saved)
    plan = json.loads(saved.read_text())
    first = plan["repeats"][0]
    for nodes, readers, said in (
        (["nothing"], first["readers"], 'there is no node "nothing"'),
        (first["nodes"][:1], first["readers"], "nobody reads"),
        (first["nodes"], first["nodes"][:1], "names a node twice"),
    ):
        saved.write_text(json.dumps({**plan, "repeats": [{"nodes": nodes, "readers": readers}]}))
        code, envelope = call(capsys, "compile", model, "--board", BOARD, "--plan", saved)
        assert (code, envelope["error"]["code"]) == (3, "E303")
        assert said in envelope["error"]["what"]
