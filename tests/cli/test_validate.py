"""A board's own counts: the emulated board on a pseudo-terminal, as if it hung on a cable."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtimes.emulator.emulator import Emulator
from runtimes.emulator.terminal import Terminal
from tests.conftest import ROOT
from toolchain.cli import main
from toolchain.cli.pipeline import open_project
from toolchain.cli.report import Reporter
from toolchain.cli.targets import start_emulator

DIGITS = ROOT / "examples/digits/digits.tflite"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "build"
    words = ["compile", str(DIGITS), "--board", "nucleo_f446re", "-o", str(folder), "--quiet"]
    assert main(words) == 0
    return folder


@pytest.fixture(scope="module")
def port(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    opened = open_project(project, Reporter(quiet=True, json=True))
    with start_emulator(opened, tmp_path_factory.mktemp("firmware")) as emulator:
        assert isinstance(emulator, Emulator)
        with Terminal(emulator.machine) as terminal:
            yield terminal.port


def test_a_board_counts_what_the_emulator_counts(
    capsys: pytest.CaptureFixture[str], project: Path, port: str
) -> None:
    """An emulated cycle counter counts instructions, and those of the marks between layers."""
    assert main(["validate", str(project), "--port", port, "--random", "2", "--json"]) == 0
    board = json.loads(capsys.readouterr().out)["result"]
    assert board["targets"][0]["mismatched_bytes"] == 0
    assert main(["profile", str(project), "--json"]) == 0
    profile = json.loads(capsys.readouterr().out)["result"]
    assert 0 < sum(layer["cycles"] for layer in board["layers"]) <= board["cycles"]
    for seen, counted in zip(board["layers"], profile["layers"], strict=True):
        known = "name", "op", "kernel", "macs", "scratch_bytes"
        assert [seen[key] for key in known] == [counted[key] for key in known]
        more = seen["cycles"] - counted["instructions"]
        assert 0 <= more <= max(100, 0.01 * counted["instructions"])


def test_a_board_prints_the_profile_s_table(
    capsys: pytest.CaptureFixture[str], project: Path, port: str
) -> None:
    tables = []
    for words in (["profile"], ["validate", "--port", port, "--random", "1"]):
        assert main([words[0], str(project), *words[1:]]) == 0
        lines = capsys.readouterr().out.splitlines()
        head = next(i for i, line in enumerate(lines) if line.lstrip().startswith("#"))
        tables.append([line.split() for line in lines[head : head + 3]])
    assert tables[0][0] == tables[1][0]
    assert [row[:4] for row in tables[0]] == [row[:4] for row in tables[1]]
