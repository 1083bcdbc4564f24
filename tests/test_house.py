"""The house rules that a machine can check: import directions and complete operators."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import toolchain.ops
from toolchain.ops import Op

ROOT = Path(__file__).parent.parent
ROOMS = ("boards", "toolchain", "nas", "codegen", "runtimes", "firmware_templates")
# room -> rooms it may import; the command line, which ties all together, is checked apart.
MAY_IMPORT = {
    "boards": {"boards"},
    "toolchain": {"toolchain", "boards"},
    "nas": {"nas", "toolchain", "boards"},
    "codegen": {"codegen", "toolchain", "boards"},
    "runtimes": {"runtimes", "codegen", "toolchain", "boards"},
    "firmware_templates": {"firmware_templates"},
}
LEAF = "toolchain.errors"
HEAVY = {"torch", "onnx", "onnxruntime", "ortools", "jinja2", "unicorn", "tflite", "sklearn"}


def modules(room: str) -> Iterator[Path]:
    yield from sorted((ROOT / room).rglob("*.py"))


def imports(path: Path, *, top_level_only: bool = False) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


@pytest.mark.parametrize("room", ROOMS)
def test_imports_run_one_way(room: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules(room)
        if "cli" not in path.relative_to(ROOT).parts[:2]
        for name in imports(path)
        if name.split(".")[0] in ROOMS
        and name.split(".")[0] not in MAY_IMPORT[room]
        and name != LEAF
    ]
    assert not wrong


@pytest.mark.parametrize("room", ROOMS)
def test_heavy_packages_are_imported_where_used(room: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name} at the top"
        for path in modules(room)
        for name in imports(path, top_level_only=True)
        if name.split(".")[0] in HEAVY
    ]
    assert not wrong


def test_the_command_line_starts_without_the_rooms() -> None:
    names = set(imports(ROOT / "toolchain/cli/main.py", top_level_only=True))
    names |= set(imports(ROOT / "toolchain/cli/report.py", top_level_only=True))
    rooms = {name for name in names if name.split(".")[0] in ROOMS}
    assert all(name == LEAF or name.startswith("toolchain.cli") for name in rooms)


def operators() -> list[type[Op]]:
    members = [getattr(toolchain.ops, name) for name in toolchain.ops.__all__]
    return [m for m in members if isinstance(m, type) and issubclass(m, Op) and m is not Op]


@pytest.mark.parametrize("op", operators(), ids=lambda op: op.name)
def test_every_operator_is_complete(op: type[Op]) -> None:
    """Its file, its test, its lines in importer and exporter; its template is found by lowering."""
    assert op.__module__ == f"toolchain.ops.{op.name}", "one operator, one file of its name"
    assert (ROOT / f"tests/ops/test_{op.name}.py").exists()
    for room in ("importers", "exporters"):
        text = "".join(p.read_text(encoding="utf-8") for p in modules(f"toolchain/{room}"))
        assert op.__name__ in text, f"no line in toolchain/{room}"


def test_every_kernel_template_belongs_to_an_operator_or_kernel() -> None:
    templates = {
        p.name.removesuffix(".c.j2") for p in (ROOT / "firmware_templates/kernels").iterdir()
    }
    sources = [*modules("toolchain/ops"), *modules("toolchain/kernels")]
    text = "".join(path.read_text(encoding="utf-8") for path in sources)
    unknown = {name for name in templates if not name.startswith("_") and f'"{name}"' not in text}
    assert not unknown


def test_files_stay_readable() -> None:
    long = [
        f"{path.relative_to(ROOT)}: {count}"
        for room in (*ROOMS, "tests", "benchmarks", "examples")
        for path in modules(room)
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > 400
    ]
    assert not long
