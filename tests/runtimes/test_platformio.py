"""PlatformIO without its registry: build, run in QEMU and test a fresh generated project."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from runtimes.device.platformio import PlatformIO
from runtimes.host.library import write_files
from runtimes.toolchains import gcc, zig
from tests.runtimes.networks import small_network
from toolchain.errors import TesseraError, ToolError

pytest.importorskip("platformio")
needs_gcc = pytest.mark.skipif(gcc() is None, reason="needs arm-none-eabi-gcc")
needs_qemu = pytest.mark.skipif(not shutil.which("qemu-system-arm"), reason="needs QEMU")


def project(board: str, folder: Path) -> PlatformIO:
    write_files(small_network(board).files, folder / "project")
    return PlatformIO(folder / "project", folder / "core")


@pytest.mark.slow
@needs_qemu
@pytest.mark.parametrize("board", ["nucleo_f446re", "qemu_an505", "pico"])
def test_a_fresh_project_builds_runs_and_passes_its_tests(board: str, tmp_path: Path) -> None:
    pio = project(board, tmp_path)
    uploaded = pio.run(targets=["upload"])
    assert f"firmware runs plan {small_network(board).plan.hash[:16]}" in uploaded.output
    tested = pio.test()
    assert tested.status == 0, tested.output
    assert "2 test cases: 2 succeeded" in tested.output


@pytest.mark.slow
@needs_qemu
@pytest.mark.skipif(zig() is None, reason="needs the ziglang wheel")
def test_a_project_builds_with_python_packages_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TESSERA_CROSS", "missing-")
    pio = project("nucleo_f746zg", tmp_path)
    assert "firmware runs plan" in pio.run(targets=["upload"]).output
    assert pio.test().status == 0


@pytest.mark.slow
@needs_qemu
def test_a_wrong_output_fails_the_golden_test(tmp_path: Path) -> None:
    pio = project("nucleo_f446re", tmp_path)
    weights = pio.project / "lib/model/src/model_weights.c"
    text = weights.read_text()
    weights.write_text(text.replace("    ", "    1 - ", 1))
    tested = pio.test()
    assert tested.status != 0
    assert "FAIL" in tested.output


@pytest.mark.slow
@needs_gcc
def test_the_real_boards_environment_builds_with_local_tools(tmp_path: Path) -> None:
    pio = project("nucleo_f746zg", tmp_path)
    pio.run("nucleo_f746zg_local")
    assert (pio.project / ".pio/build/nucleo_f746zg_local/firmware.elf").exists()


@pytest.mark.slow
def test_a_build_error_is_a_tool_error(tmp_path: Path) -> None:
    pio = project("nucleo_f446re", tmp_path)
    (pio.project / "src/main.c").write_text("int main(void) { return }\n")
    with pytest.raises(ToolError) as error:
        pio.run()
    assert error.value.code == "E602"
    assert "main.c" in str(error.value.where)


@pytest.mark.slow
@needs_gcc
@pytest.mark.parametrize(
    ("script", "code"), [(None, "E601"), ("echo 'Error: open failed'; exit 1", "E501")]
)
def test_a_failed_upload_says_why(
    script: str | None, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenOCD without a probe ends with status 1; where it is missing the shell says 127."""
    tools = tmp_path / "bin"
    tools.mkdir()
    status = "exit 127" if script is None else script
    (tools / "openocd").write_text(f"#!/bin/sh\n{status}\n")
    (tools / "openocd").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    with pytest.raises(TesseraError) as error:
        project("nucleo_f446re", tmp_path).run("nucleo_f446re_local", ["upload"])
    assert error.value.code == code
