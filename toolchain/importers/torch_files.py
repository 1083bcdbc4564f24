"""Where PyTorch modules come from: ``.pt2`` archives, and code that the user names.

An archive is checked before PyTorch opens it, because PyTorch would unpickle what it holds, and
unpickling runs code. Pickled modules (``torch.save(module)``) are never opened.
"""

from __future__ import annotations

import importlib.util
import io
import json
import re
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from toolchain.errors import ModelError
from toolchain.importers.torch_export import import_program, import_torch, quiet
from toolchain.ir import Graph

_MAX_BYTES = 2**31 - 1  # of the archive's members, unpacked
_MOST_GROWTH, _SMALL = 20, 2**20  # PyTorch stores weights as they are
_EXPRESSION = re.compile(r'"(expr_str|as_expr)"')


def import_pt2(data: bytes, name: str) -> Graph:
    """Return the float graph of a ``torch.export`` archive.

    Raises:
        ModelError: E204 damaged archive, E207 dynamic shapes, E215 archive that holds pickled
            objects or machine code, and as `toolchain.importers.torch_export.import_torch`.
    """
    _check(data)
    import torch

    with quiet():
        try:
            program = torch.export.load(io.BytesIO(data))
        except Exception as error:
            raise ModelError("E204", f"damaged .pt2 file: {type(error).__name__}") from None
        return import_program(program, name)


def _check(data: bytes) -> None:
    """Refuse an archive that PyTorch could not open without running code from it."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            size = sum(one.file_size for one in members)
            if size > min(_MAX_BYTES, _MOST_GROWTH * len(data) + _SMALL):
                raise ModelError(
                    "E204",
                    f"the archive of {len(data)} bytes unpacks to {size}",
                    hints=["save the program with torch.export.save, which does not compress"],
                )
            names = [one.filename for one in members]
            if not any(name.endswith("/models/model.json") for name in names):
                raise pickled("a pickled PyTorch file")
            for name in names:
                _check_member(name, archive.read(name))
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, NotImplementedError) as error:
        raise ModelError("E204", f"damaged .pt2 file: {error}") from None


def _check_member(name: str, content: bytes) -> None:
    if "/data/aotinductor/" in name:
        raise pickled("an archive with machine code")
    if name.endswith("_config.json"):
        if b'"use_pickle": true' in content or _uses_pickle(content):
            raise pickled("an archive with pickled weights")
    elif name.endswith("/models/model.json") and _EXPRESSION.search(content.decode("utf-8", "?")):
        raise ModelError(
            "E207",
            "the program's shapes are dynamic",
            hints=["export the model without dynamic_shapes"],
        )
    elif "/data/sample_inputs/" in name:
        _check_sample(content)


def _uses_pickle(content: bytes) -> bool:
    try:
        entries = json.loads(content)["config"].values()
        return any(entry.get("use_pickle") is not False for entry in entries)
    except (ValueError, KeyError, AttributeError, TypeError):
        raise ModelError("E204", "damaged .pt2 file: its list of weights") from None


def _check_sample(content: bytes) -> None:
    """Refuse example inputs that PyTorch would have to unpickle freely."""
    import torch

    try:
        torch.load(io.BytesIO(content), weights_only=True)
    except Exception:
        raise pickled("an archive with pickled example inputs") from None


def pickled(what: str) -> ModelError:
    """Return the error for a file that only unpickling would open."""
    return ModelError(
        "E215",
        f"{what}: opening it would run code that it holds",
        hints=[
            "build the module in a file of your own and give model.py:build_model",
            "torch.export.save(torch.export.export(module, (example,)), 'model.pt2')",
        ],
    )


def import_code(path: Path, function: str) -> Graph:
    """Return the float graph of a module that a function of a Python file builds.

    The file is executed: the user names it and trusts it.

    Args:
        path: the file; it may import its neighbours.
        function: takes nothing and returns ``(module, example_input)``.

    Raises:
        ModelError: E201 if the file cannot be read, E214 if it fails or returns something else,
            and as `toolchain.importers.torch_export.import_torch`.
    """
    if not path.is_file():
        raise ModelError("E201", "the file cannot be read")
    with _imported(path) as code:
        build = getattr(code, function, None)
        if not callable(build):
            raise ModelError("E214", f"there is no function {function}")
        try:
            made = build()
        except Exception as error:
            what = f"it fails: {type(error).__name__}: {error}"
            raise ModelError("E214", what) from None
    if not isinstance(made, tuple) or len(made) != 2:
        raise ModelError(
            "E214",
            "it must return the module and an example input",
            hints=["return module, torch.zeros(1, 3, 96, 96)"],
        )
    return import_torch(made[0], made[1], path.stem)


@contextmanager
def _imported(path: Path) -> Iterator[Any]:
    """Execute a Python file as a module, with its folder first on the path meanwhile."""
    folder = str(path.resolve().parent)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ModelError("E214", "not a Python file")
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(path.stem)
    sys.path.insert(0, folder)
    sys.modules[path.stem] = module  # dataclasses and pickling look their module up there
    try:
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            what = f"it fails: {type(error).__name__}: {error}"
            raise ModelError("E214", what) from None
        yield module
    finally:
        sys.path.remove(folder)
        if before is None:
            sys.modules.pop(path.stem, None)
        else:
            sys.modules[path.stem] = before
