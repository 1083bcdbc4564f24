"""Model files of other tools, read into graphs."""

from __future__ import annotations

from pathlib import Path

from toolchain.errors import ModelError
from toolchain.importers.tflite_types import IDENTIFIER, ModelWarning
from toolchain.ir import Graph

__all__ = ["ModelWarning", "import_model"]

_HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP = b"PK\x03\x04"
_MAX_BYTES = 2**31 - 1  # what the offsets of a flatbuffer can reach


def import_model(path: Path | str) -> Graph:
    """Read a model file; its content, not its name, says what it is.

    Args:
        path: a ``.tflite`` file.

    Raises:
        ModelError: E201 if it cannot be read or is no model of a known kind, E203 if a Python
            package is missing, and what the importer of its kind raises.
    """
    path = Path(path)
    data = _read(path)
    if data[4:8] != IDENTIFIER:
        raise _unknown(path, data)
    try:
        from toolchain.importers.tflite import import_tflite

        return import_tflite(data, path.stem)
    except ModuleNotFoundError as error:
        raise ModelError(
            "E203",
            f"reading .tflite files needs the package {error.name}",
            where=str(path),
            hints=['pip install "tessera[mcu]"'],
        ) from None
    except ModelError as error:
        where = f"{path}: {error.where}" if error.where else str(path)
        raise ModelError(
            error.code, error.what, where=where, numbers=error.numbers, hints=error.hints
        ) from None


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ModelError("E201", "the file is larger than 2 GiB", where=str(path))
        return path.read_bytes()
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise ModelError("E201", f"the file cannot be read: {why}", where=str(path)) from None


def _unknown(path: Path, data: bytes) -> ModelError:
    if data.startswith(_HDF5) or (data.startswith(_ZIP) and path.suffix == ".keras"):
        return ModelError(
            "E201",
            "Keras files are not read; convert the model to .tflite",
            where=str(path),
            hints=["tf.lite.TFLiteConverter.from_keras_model(model), with int8 quantisation"],
        )
    return ModelError(
        "E201",
        f"not a model file: it starts with {data[:8]!r}" if data else "the file is empty",
        where=str(path),
        hints=["give a .tflite file (its bytes 4 to 8 are TFL3)"],
    )
