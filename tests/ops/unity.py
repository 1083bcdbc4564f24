"""Many emitted networks as one translation unit: one start of the compiler instead of hundreds.

Static names are the same in every network, so each is given its network's prefix first. Nothing
else of the text is changed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

UNIT = "src/networks.c"
_STATIC = re.compile(r"^(?:static|LAYER)\b[^;={(\n]*?\b(\w+)\s*(?=[\[(])", re.MULTILINE)
_TYPE = re.compile(r"^\} (\w+);", re.MULTILINE)
_MACRO = re.compile(r"^ *# *define (\w+)", re.MULTILINE)


def unite(networks: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return the files of all networks and ``UNIT``, which includes them.

    Args:
        networks: ``{prefix: files that emit returned for it}``.
    """
    files: dict[str, str] = {}
    lines = []
    for prefix, emitted in networks.items():
        own = {path: text for path, text in emitted.items() if prefix in path}
        files |= {path: text for path, text in emitted.items() if prefix not in path}
        files |= {_included(path): text for path, text in _renamed(own, prefix)}
        code = own[f"src/{prefix}.c"]
        lines += [f'#include "{prefix}_weights.inc"', f'#include "{prefix}.inc"']
        lines += [f"#undef {name}" for name in dict.fromkeys(_MACRO.findall(code))]
    files[UNIT] = "\n".join(lines) + "\n"
    return files


def _included(path: str) -> str:
    return path.removesuffix(".c") + ".inc" if path.endswith(".c") else path


def _renamed(files: Mapping[str, str], prefix: str) -> list[tuple[str, str]]:
    names = {
        name for text in files.values() for name in _STATIC.findall(text) + _TYPE.findall(text)
    }
    words = re.compile(rf"\b({'|'.join(sorted(names))})\b")
    return [(path, words.sub(rf"{prefix}_\1", text)) for path, text in files.items()]
