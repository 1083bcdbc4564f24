"""Files that are written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolchain.files import write_whole


def test_a_file_has_the_rights_of_new_files_and_leaves_no_other(tmp_path: Path) -> None:
    plain, whole = tmp_path / "plain", tmp_path / "whole"
    plain.write_bytes(b"")
    for content in (b"first", b"second"):
        write_whole(whole, content)
        assert whole.read_bytes() == content
    assert whole.stat().st_mode == plain.stat().st_mode
    assert sorted(tmp_path.iterdir()) == [plain, whole]


def test_what_cannot_be_replaced_stays(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path / "folder", b"data")
    assert [one.name for one in tmp_path.iterdir()] == ["folder"]
