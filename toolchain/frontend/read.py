"""Read a front end from TOML: every key is known, typed and in range, or the file is refused."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

from toolchain.errors import UsageError
from toolchain.frontend.audio_spec import AudioSpec

_KINDS = {"int": (int,), "float": (int, float), "str": (str,)}


def read_frontend(path: Path) -> AudioSpec:
    """Return the front end that a TOML file describes in its table ``[audio]``.

    Raises:
        UsageError: E142 if the file cannot be read or has other keys, E143 for a value that is
            not possible.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError("E142", f"cannot read the front end: {error}", where=str(path)) from None
    if set(tables) != {"audio"} or not isinstance(tables["audio"], dict):
        raise UsageError("E142", "one table [audio] is needed", where=str(path))
    return audio_spec(tables["audio"], str(path))


def audio_spec(values: dict[str, Any], where: str) -> AudioSpec:
    """Return the checked parameters of a table ``[audio]``; ``where`` names the file in errors."""
    fields = {field.name: field for field in dataclasses.fields(AudioSpec)}
    for name, value in values.items():
        if name not in fields:
            hints = [f"known: {', '.join(fields)}"]
            raise UsageError("E142", f"unknown key audio.{name}", where=where, hints=hints)
        kind = str(fields[name].type)
        if not isinstance(value, _KINDS[kind]) or isinstance(value, bool):
            raise UsageError("E142", f"audio.{name} must be {kind}", where=where)
    missing = [
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and name not in values
    ]
    if missing:
        raise UsageError("E142", f"audio.{missing[0]} is missing", where=where)
    return AudioSpec(**values).check(where)
