"""Write a generated project: atomically, only what changed, and never into a folder of others.

A project carries ``tessera.json``, its manifest: which files are ours, with their SHA-256. A folder
that is not empty and has no manifest is refused. A new project appears in one rename; an existing
one is updated file by file, each by an atomic replace, the manifest last, and files that are no
longer generated are removed. Files that a user added are left alone.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toolchain.errors import UsageError

MANIFEST = "tessera.json"
Content = str | bytes


def write_project(files: Mapping[str, Content], facts: Mapping[str, Any], folder: Path) -> int:
    """Write ``files`` below ``folder`` with a manifest that also holds ``facts``.

    Args:
        files: ``{relative path: text or bytes}``.
        facts: JSON values kept in the manifest (model, board, plan hash ...).
        folder: the project; made if it does not exist.

    Returns:
        The number of files whose content changed.

    Raises:
        UsageError: E106 if ``folder`` holds something that is not a project of ours.
    """
    data = {name: text.encode() if isinstance(text, str) else text for name, text in files.items()}
    listed = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(data.items())}
    manifest = {"schema_version": 1, **facts, "files": listed}
    data[MANIFEST] = (json.dumps(manifest, indent=2, sort_keys=True) + "\n").encode()
    old = _ours(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        for name, content in data.items():
            path = staging / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return _move_into(staging, folder, data, old)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a project.

    Raises:
        UsageError: E105 if ``folder`` is not a generated project, or its manifest is damaged.
    """
    hint = "tessera compile MODEL --board BOARD -o DIR"
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except OSError:
        raise UsageError(
            "E105", f"not a generated project: {folder} has no {MANIFEST}", hints=[hint]
        ) from None
    except ValueError:
        manifest = None
    if not isinstance(manifest, dict) or manifest.get("schema_version") != 1:
        raise UsageError("E105", f"{folder / MANIFEST} is damaged", hints=[hint])
    return manifest


def _ours(folder: Path) -> set[str]:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return set()
    if not folder.is_dir() or not (folder / MANIFEST).exists():
        raise UsageError(
            "E106",
            f"{folder} exists and was not made by tessera",
            hints=["choose another folder with -o"],
        )
    return {str(name) for name in read_manifest(folder).get("files", {})}


def _move_into(staging: Path, folder: Path, data: Mapping[str, bytes], old: set[str]) -> int:
    if not folder.exists():
        staging.chmod(0o755)
        staging.rename(folder)
        return len(data)
    changed = 0
    for name in sorted(data, key=lambda n: n == MANIFEST):
        target = folder / name
        if target.exists() and target.read_bytes() == data[name]:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        (staging / name).replace(target)
        changed += 1
    for name in old - set(data):
        if ".." not in Path(name).parts and not Path(name).is_absolute():
            (folder / name).unlink(missing_ok=True)
    return changed
