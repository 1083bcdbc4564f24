"""Real models and data sets beside the repository, used by tests where they are present."""

from __future__ import annotations

import os
from pathlib import Path


def shared_data() -> Path | None:
    """Return the folder of shared data, ``None`` where there is none."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("TESSERA_SHARED_DATA") or beside)
    return folder if folder.is_dir() else None


def shared_models() -> list[Path]:
    """Return all .tflite files of the shared data, none where it is absent."""
    folder = shared_data()
    return sorted((folder / "models").rglob("*.tflite")) if folder else []
