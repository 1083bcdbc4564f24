"""``.pt2`` archives and code that the user names: read, and nothing else executed."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import toolchain as ts
from toolchain.errors import ModelError
from toolchain.importers import import_float, import_model

torch = pytest.importorskip("torch")

CODE = """
import torch
from sizes import CLASSES

def build_model():
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(3, 8, 3, 2, 1), torch.nn.ReLU6(), torch.nn.AdaptiveAvgPool2d(1)
    module = torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(8, CLASSES))
    return module, torch.zeros(1, 3, 8, 8)

def only_module():
    return build_model()[0]

def fails():
    raise KeyError("weights")
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "sizes.py").write_text("CLASSES = 5\n")
    path = tmp_path / "net.py"
    path.write_text(CODE)
    return path


@pytest.fixture
def archive(code: Path) -> Path:
    module, example = Loaded(code).build_model()
    path = code.with_suffix(".pt2")
    torch.export.save(torch.export.export(module, (example,)), path)
    return path


class Loaded:
    """The code, executed by the test itself."""

    def __init__(self, path: Path) -> None:
        names: dict[str, object] = {}
        exec(path.read_text().replace("from sizes import CLASSES", "CLASSES = 5"), names)
        self.__dict__.update(names)


def test_code_and_archive_give_the_same_network(code: Path, archive: Path) -> None:
    named, stored = import_float(f"{code}:build_model"), import_float(archive)
    x = np.random.default_rng(0).normal(0, 1, (1, 3, 8, 8)).astype(np.float32)
    (a,), (b,) = ts.run_float(named, [x]), ts.run_float(stored, [x])
    assert a.shape == (1, 5)
    np.testing.assert_array_equal(a, b)


def test_it_is_told_to_quantise(archive: Path) -> None:
    with pytest.raises(ModelError) as caught:
        import_model(archive)
    assert caught.value.code == "E202"
    assert str(archive) in caught.value.hints[0]


@pytest.mark.parametrize(
    ("function", "code_", "text"),
    [
        ("missing", "E214", "no function missing"),
        ("only_module", "E214", "example input"),
        ("fails", "E214", "KeyError"),
    ],
)
def test_code_that_builds_nothing_is_refused(
    code: Path, function: str, code_: str, text: str
) -> None:
    with pytest.raises(ModelError, match=text) as caught:
        import_float(f"{code}:{function}")
    assert caught.value.code == code_
    assert str(code) in (caught.value.where or "")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        import_float(f"{tmp_path / 'none.py'}:build")


class Bomb:
    """Pickled, it creates a file when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return exec, (f"open({str(self.path)!r}, 'w')",)


def tampered(archive: Path, change: Callable[[str, bytes], bytes]) -> Path:
    path = archive.with_name("tampered.pt2")
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return path


def refused(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        import_float(path)
    return caught.value.code


def test_pickled_objects_are_not_opened(archive: Path, tmp_path: Path) -> None:
    mark = tmp_path / "exploded"

    def example(name: str, data: bytes) -> bytes:
        return pickle.dumps(Bomb(mark)) if "sample_inputs" in name else data

    def weights(_: str, data: bytes) -> bytes:
        return data.replace(b'"use_pickle": false', b'"use_pickle":true')

    def pickled_weight(name: str, data: bytes) -> bytes:
        return pickle.dumps(Bomb(mark)) if name.endswith("weight_0") else weights("", data)

    assert refused(tampered(archive, example)) == "E215"
    assert refused(tampered(archive, weights)) == "E215"
    assert refused(tampered(archive, pickled_weight)) == "E215"
    whole = tmp_path / "module.pt"
    torch.save(Bomb(mark), whole)
    assert refused(whole) == "E215"
    assert not mark.exists()


def test_damaged_archives_are_refused(archive: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.pt2"
    short.write_bytes(archive.read_bytes()[:200])
    assert refused(short) == "E204"

    def emptied(name: str, data: bytes) -> bytes:
        return b"{}" if name.endswith("model.json") else data

    assert refused(tampered(archive, emptied)) == "E204"


def test_dynamic_shapes_are_refused(code: Path) -> None:
    module, example = Loaded(code).build_model()
    batch = torch.export.Dim("batch", min=2, max=8)
    example = example.repeat(2, 1, 1, 1)
    program = torch.export.export(module, (example,), dynamic_shapes=({0: batch},))
    path = code.with_suffix(".pt2")
    torch.export.save(program, path)
    assert refused(path) == "E207"
