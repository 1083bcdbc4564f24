"""Read a front end from TOML: every key is known, typed and in range, or the file is refused."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

from toolchain.errors import UsageError
from toolchain.frontend.audio_spec import AudioSpec
from toolchain.frontend.image_spec import ImageSpec

Frontend = AudioSpec | ImageSpec
_TABLES: dict[str, type[AudioSpec] | type[ImageSpec]] = {"audio": AudioSpec, "image": ImageSpec}
_KINDS = {"int": (int,), "float": (int, float), "str": (str,), "tuple[float, ...]": (list,)}


def read_frontend(path: Path) -> Frontend:
    """Return the front end that a TOML file describes in its table ``[audio]`` or ``[image]``.

    Raises:
        UsageError: E142 if the file cannot be read or has other keys, E143 for a value that is
            not possible.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError("E142", f"cannot read the front end: {error}", where=str(path)) from None
    name = next(iter(tables), "")
    if len(tables) != 1 or name not in _TABLES or not isinstance(tables[name], dict):
        raise UsageError("E142", "one table [audio] or [image] is needed", where=str(path))
    return _TABLES[name](**_arguments(_TABLES[name], tables[name], name, str(path))).check(
        str(path)
    )


def _arguments(
    kind: type[AudioSpec] | type[ImageSpec], values: dict[str, Any], table: str, where: str
) -> dict[str, Any]:
    """Return a table's values as arguments of ``kind``: known, typed and complete."""
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for name, value in values.items():
        if name not in fields:
            hints = [f"known: {', '.join(fields)}"]
            raise UsageError("E142", f"unknown key {table}.{name}", where=where, hints=hints)
        if not _typed(value, str(fields[name].type)):
            raise UsageError("E142", f"{table}.{name} must be {fields[name].type}", where=where)
    for name, field in fields.items():
        if field.default is dataclasses.MISSING and name not in values:
            raise UsageError("E142", f"{table}.{name} is missing", where=where)
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


def _typed(value: Any, kind: str) -> bool:
    if isinstance(value, list):
        return kind.startswith("tuple") and all(_typed(part, "float") for part in value)
    return isinstance(value, _KINDS[kind]) and not isinstance(value, bool)
