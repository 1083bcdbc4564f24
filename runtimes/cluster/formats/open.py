"""Opens a model whatever its format, by its content rather than its name."""

from __future__ import annotations

import hashlib
from pathlib import Path

from runtimes.cluster.formats.base import WeightSource
from runtimes.cluster.formats.gguf import GgufModel
from runtimes.cluster.formats.huggingface import HuggingFaceModel
from runtimes.cluster.formats.llama2c import Llama2cModel
from toolchain.errors import ModelError


def open_model(path: Path) -> WeightSource:
    """Open a Hugging Face folder, a GGUF file or a llama2.c file.

    Raises:
        ModelError: E201 the path is none of these; E220..E223 the model cannot be used.
    """
    if path.is_dir():
        if (path / "config.json").exists():
            return HuggingFaceModel(path)
        raise ModelError("E201", "a folder without config.json", where=str(path))
    if not path.is_file():
        raise ModelError("E201", "no such model", where=str(path))
    with path.open("rb") as file:
        magic = file.read(4)
    if magic == b"GGUF":
        return GgufModel(path)
    if path.suffix == ".bin":
        return Llama2cModel(path)
    raise ModelError(
        "E201",
        "not a model that can be split",
        where=str(path),
        hints=["give a Hugging Face folder (safetensors), a .gguf file or a llama2.c .bin file"],
    )


def model_digest(path: Path) -> str:
    """SHA-256 over a model's files: the name of a conversion, equal on all its shards."""
    files = (
        [path] if path.is_file() else sorted([*path.glob("*.json"), *path.glob("*.safetensors")])
    )
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as content:
            while chunk := content.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()
