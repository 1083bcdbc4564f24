from __future__ import annotations

from pathlib import Path

import pytest

from codegen.folder import MANIFEST, read_manifest, write_project
from toolchain.errors import UsageError


def test_writes_only_what_changed_and_removes_what_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "build"
    write_project({"a.c": "1", "b/c.h": "2", "m.bin": b"\0"}, {"board": "x"}, folder)
    (folder / "notes.txt").write_text("mine")
    before = (folder / "a.c").stat().st_mtime_ns
    assert write_project({"a.c": "1", "d.c": "3"}, {"board": "x"}, folder) == 2
    assert (folder / "a.c").stat().st_mtime_ns == before
    assert not (folder / "b/c.h").exists()
    assert (folder / "notes.txt").read_text() == "mine"
    assert set(read_manifest(folder)["files"]) == {"a.c", "d.c"}
    assert not [p for p in tmp_path.iterdir() if p != folder]


def test_a_folder_of_others_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="not made by tessera"):
        write_project({"a.c": "1"}, {}, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_failure_leaves_no_half_written_project(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="name too long"):
        write_project({"ok.c": "1", "x" * 300: "2"}, {}, tmp_path / "build")
    assert not list(tmp_path.iterdir())


def test_a_manifest_cannot_reach_outside_its_folder(tmp_path: Path) -> None:
    folder, victim = tmp_path / "build", tmp_path / "victim"
    victim.write_text("safe")
    write_project({"a.c": "1"}, {}, folder)
    text = (folder / MANIFEST).read_text().replace('"a.c"', '"../victim"')
    (folder / MANIFEST).write_text(text)
    write_project({"b.c": "1"}, {}, folder)
    assert victim.read_text() == "safe"


def test_damaged_manifest_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text("{")
    with pytest.raises(UsageError, match="damaged"):
        read_manifest(tmp_path)
