"""The command line in process: results, JSON fields, exit codes, errors that help."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.graphs import Builder
from toolchain.cli import main
from toolchain.exporters.tflite import export_tflite
from toolchain.ops import Conv2D

DIGITS = ROOT / "examples/digits/digits.tflite"
IMAGES = ROOT / "examples/digits/images.npy"
BOARD = "nucleo_f446re"


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, Any]]:
    code = main([*map(str, words), "--json"])
    envelope = json.loads(capsys.readouterr().out)
    assert envelope["schema_version"] == 1
    assert envelope["command"] == words[0]
    assert envelope["exit_code"] == code
    return code, envelope


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "build"
    assert main(["compile", str(DIGITS), "--board", BOARD, "-o", str(folder), "--quiet"]) == 0
    return folder


def test_compile_reports_what_the_board_needs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "build"
    code, envelope = call(capsys, "compile", DIGITS, "--board", BOARD, "-o", folder)
    result = envelope["result"]
    assert code == 0
    assert result["fits"] is True
    assert result["input_bytes"] == 32 * 32
    assert result["output_bytes"] == 10
    assert result["arena_bytes"] >= result["input_bytes"]
    assert result["ram_total_bytes"] >= result["arena_bytes"] + result["stack_bytes"]
    assert result["flash_total_bytes"] > result["flash_weights_bytes"] > 0
    assert result["mac_factor"] == 1.0
    assert (folder / "platformio.ini").exists()


def test_compiling_twice_gives_the_same_bytes(project: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    assert main(["compile", str(DIGITS), "--board", BOARD, "-o", str(again), "--quiet"]) == 0
    names = sorted(p.relative_to(again) for p in again.rglob("*") if p.is_file())
    assert names == sorted(p.relative_to(project) for p in project.rglob("*") if p.is_file())
    assert all((again / n).read_bytes() == (project / n).read_bytes() for n in names)


def test_host_and_emulator_equal_the_interpreter(
    capsys: pytest.CaptureFixture[str], project: Path
) -> None:
    code, envelope = call(capsys, "test", project, "--inputs", IMAGES)
    targets = {target["name"]: target for target in envelope["result"]["targets"]}
    assert code == 0
    assert envelope["result"]["cases"] == len(np.load(IMAGES))
    assert {"host", "emulator"} <= set(targets)
    assert all(target["mismatched_bytes"] == 0 for target in targets.values())
    assert targets["emulator"]["instructions"] > 0
    assert 0 < targets["emulator"]["stack_bytes"] <= 2048


def test_wrong_expected_outputs_are_exit_code_4(
    capsys: pytest.CaptureFixture[str], project: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "y.npy", np.zeros((len(np.load(IMAGES)), 1, 10), np.int8))
    outputs = tmp_path / "y.npy"
    code, envelope = call(capsys, "test", project, "--inputs", IMAGES, "--outputs", outputs)
    assert code == 4
    assert envelope["result"]["targets"][0]["mismatched_bytes"] > 0


def test_profile_adds_up(capsys: pytest.CaptureFixture[str], project: Path) -> None:
    _, envelope = call(capsys, "profile", project)
    result = envelope["result"]
    spent = sum(layer["instructions"] for layer in result["layers"])
    assert 0 < spent <= result["instructions"] <= spent * 1.05 + 500
    assert result["core"] == "cortex-m4"
    assert all(layer["cycles_estimate"] > 0 for layer in result["layers"])
    assert 0 < result["flash_waits"] < result["cycles_estimate"] - result["instructions"]
    assert all(0 < layer["stack_bytes"] < result["stack_bytes"] for layer in result["layers"])
    hottest = result["hot"][0]
    assert 0 < sum(block["instructions"] for block in hottest["blocks"]) <= hottest["instructions"]


def test_a_plan_is_shown_among_those_that_the_search_has_met(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["plan", str(DIGITS), "--board", "nucleo_f412zg"]) == 0
    lines = capsys.readouterr().out.splitlines()
    head = next(i for i, line in enumerate(lines) if {"MACs", "work", "proof"} <= {*line.split()})
    rows = list(itertools.takewhile(lambda line: "x " in line, lines[head + 1 :]))
    assert len(rows) > 1
    assert sum(line.startswith(">") for line in rows) == 1


def test_plan_and_inspect(capsys: pytest.CaptureFixture[str]) -> None:
    _, planned = call(capsys, "plan", DIGITS, "--board", BOARD)
    _, seen = call(capsys, "inspect", DIGITS)
    assert planned["result"]["chosen"]["arena_bytes"] >= planned["result"]["lower_bound_bytes"]
    assert seen["result"]["macs"] == sum(layer["macs"] for layer in seen["result"]["layers"])


def test_boards_that_fit(capsys: pytest.CaptureFixture[str]) -> None:
    _, every = call(capsys, "boards")
    _, fitting = call(capsys, "boards", "--fits", DIGITS)
    ids = {board["id"] for board in fitting["result"]["boards"]}
    assert BOARD in ids
    assert ids <= {board["id"] for board in every["result"]["boards"]}


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["compil"], 2, "tessera compile --help"),
        (["compile", DIGITS, "--board", "nucleo_f746z"], 2, "nucleo_f746zg"),
        (["compile", "missing.tflite", "--board", BOARD], 2, "missing.tflite"),
        (["compile", IMAGES, "--board", BOARD], 2, "not a model"),
        (["test", "no_such_folder"], 2, "not a generated project"),
        (["compile", DIGITS], 2, "--board"),
    ],
)
def test_errors_help(
    capsys: pytest.CaptureFixture[str], words: list[object], code: int, text: str
) -> None:
    assert main([*map(str, words)]) == code
    message = capsys.readouterr().err
    assert text in message
    assert "Traceback" not in message


def test_a_foreign_folder_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    assert main(["compile", str(DIGITS), "--board", BOARD, "-o", str(tmp_path)]) == 2
    assert "not made by tessera" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_inputs_of_another_shape_are_refused(
    capsys: pytest.CaptureFixture[str], project: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", np.zeros((2, 8, 8), np.int8))
    assert main(["test", str(project), "--inputs", str(tmp_path / "x.npy")]) == 2
    assert "int8[N, 1, 32, 32, 1]" in capsys.readouterr().err


def test_a_changed_plan_is_noticed(
    capsys: pytest.CaptureFixture[str], project: Path, tmp_path: Path
) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(project, copy)
    plan = json.loads((copy / "plan.json").read_text())
    plan["slots"][0]["offset"] += 4
    (copy / "plan.json").write_text(json.dumps(plan))
    assert main(["test", str(copy)]) in (2, 3)
    assert "Traceback" not in capsys.readouterr().err


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, toolchain.cli as c; c.main(['--help']); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = set(done.stdout.splitlines()[-1].strip("[]").replace("'", "").split(", "))
    assert not loaded & {"numpy", "rich", "jinja2", "tflite", "unicorn", "zmq", "torch"}


def test_a_fed_project_is_right_and_both_figures_are_said(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "fed"
    code, envelope = call(capsys, "compile", DIGITS, "--board", BOARD, "--fed", "-o", folder)
    result = envelope["result"]
    assert code == 0
    assert result["arena_bytes"] == result["fed_arena_bytes"] != result["resident_arena_bytes"]
    code, envelope = call(capsys, "test", folder, "--random", 3)
    assert code == 0
    assert [t["mismatched_bytes"] for t in envelope["result"]["targets"]] == [0, 0]
    code, envelope = call(capsys, "plan", DIGITS, "--board", BOARD)
    assert envelope["result"]["fed_arena_bytes"] == result["fed_arena_bytes"]
    assert envelope["result"]["chosen"]["arena_bytes"] == result["resident_arena_bytes"]


def test_an_input_that_has_no_rows_is_not_fed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    model = tmp_path / "flat.tflite"
    build = Builder(np.random.default_rng(0))
    graph = build.graph(build.fully_connected(build.input((1, 20)), 4))
    model.write_bytes(export_tflite(graph))
    code, envelope = call(capsys, "plan", model, "--fed")
    assert (code, envelope["error"]["code"]) == (3, "E306")
    code, envelope = call(capsys, "plan", model)
    assert (code, envelope["result"]["fed_arena_bytes"]) == (0, None)


def test_two_plans_are_compared_on_the_terminal_and_on_a_page(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    first, page = tmp_path / "fed.json", tmp_path / "plan.html"
    assert main(["plan", str(DIGITS), "-b", BOARD, "--fed", "-o", str(first), "--quiet"]) == 0
    capsys.readouterr()
    words = ["plan", DIGITS, "-b", BOARD, "--effort", "fast", "--diff", first]
    code, envelope = call(capsys, *words, "--html", page)
    figures = {figure["name"]: figure for figure in envelope["result"]["diff"]["figures"]}
    arena = envelope["result"]["chosen"]["arena_bytes"]
    assert code == 0
    assert figures["arena, bytes"]["after"] == f"{arena:,}"
    assert envelope["result"]["diff"]["slots"]
    assert "the other plan" in page.read_text()
    assert main([*map(str, words)]) == 0
    said = capsys.readouterr().out
    assert "other plan" in said
    assert f"{arena:,}" in said


def test_hot_weights_count_as_ram(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = "compile", DIGITS, "--hot-weights", "1K", "-o", tmp_path / "build"
    code, envelope = call(capsys, *words, "--board", BOARD)
    result = envelope["result"]
    assert code == 0
    assert 0 < result["hot_weight_bytes"] <= 1024
    without = result["arena_bytes"] + result["stack_bytes"]
    assert result["ram_total_bytes"] >= without + result["hot_weight_bytes"]
    code, envelope = call(capsys, *words, "--board", "host")
    assert envelope["error"]["code"] == "E149"


def test_a_board_of_the_users_own_travels_with_the_project(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    own, project = tmp_path / "mine.toml", tmp_path / "build"
    text = (ROOT / "boards/nucleo_f446re.toml").read_text()
    own.write_text(text.replace("wait_states = 5", "wait_states = 0"))
    assert call(capsys, "compile", DIGITS, "--board", own, "-o", project)[0] == 0
    own.unlink()
    code, envelope = call(capsys, "profile", project)
    assert (code, envelope["result"]["flash_waits"]) == (0, 0)


def test_a_network_that_does_not_fit_is_answered_with_options_that_make_it_fit(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    board, model = tmp_path / "small.toml", tmp_path / "convs.tflite"
    text = (ROOT / "boards/bluepill_f103c8.toml").read_text()
    build = Builder(np.random.default_rng(0))
    x = build.input((1, 40, 40, 3))
    for _ in range(2):
        x = build.conv2d(x, 8, op=Conv2D((2, 2)))
    model.write_bytes(export_tflite(build.graph(x)))
    _, planned = call(capsys, "plan", model, "--board", "bluepill_f103c8")
    lean = planned["result"]["fed_arena_bytes"] + 2560
    assert lean < planned["result"]["resident_arena_bytes"]
    board.write_text(text.replace('"20K"', f'"{lean}"'))
    words = ["compile", model, "--board", board, "-o", tmp_path / "build"]
    code, envelope = call(capsys, *words)
    assert (code, envelope["error"]["code"]) == (3, "E301")
    hint = next(hint for hint in envelope["error"]["hints"] if "--board" not in hint)
    options = hint.split("  (")[0].split()
    code, envelope = call(capsys, *words, *options)
    assert code == 0
    assert envelope["result"]["fits"]
    board.write_text(text.replace('"20K"', '"3K"'))
    code, envelope = call(capsys, *words)
    error = envelope["error"]
    assert (code, error["code"]) == (3, "E301")
    assert f"the least arena is {error['numbers']['least_ram_bytes']} bytes" in error["what"]


def test_an_effort_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    code, envelope = call(capsys, "plan", DIGITS, "--effort", "soon")
    assert (code, envelope["error"]["code"]) == (2, "E123")
    assert "fast, normal, high or seconds" in envelope["error"]["what"]
