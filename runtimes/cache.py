"""Where compiled helpers are kept between runs."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return our folder in the user's cache: ``TESSERA_CACHE``, else XDG's place for caches."""
    if chosen := os.environ.get("TESSERA_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "tessera"
