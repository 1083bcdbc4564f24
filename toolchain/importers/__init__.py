"""Model files of other tools, read into graphs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from toolchain.errors import ModelError
from toolchain.importers.tflite_types import IDENTIFIER, ModelWarning
from toolchain.ir import Graph

__all__ = ["ModelWarning", "import_any", "import_float", "import_model"]

_HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP = b"PK\x03\x04"
_PICKLE = b"\x80"  # and the protocol, as in files that PyTorch wrote before version 1.6
_ONNX = b"\x08"  # the field ir_version, which all writers put first
_MAX_BYTES = 2**31 - 1  # what the offsets of a flatbuffer can reach


def import_model(path: Path | str) -> Graph:
    """Read a model file; its content, not its name, says what it is.

    Args:
        path: a ``.tflite`` file, or an ONNX file that quantises its own tensors (QDQ).

    Raises:
        ModelError: E201 if it cannot be read or is no model of a known kind, E202 for a float
            model, E203 if a Python package is missing, and what the importer of its kind raises.
    """
    if _code_of(path):
        return _quantised(import_float(path), Path(path))
    path = Path(path)
    data = _read(path)
    if data[4:8] != IDENTIFIER:
        return _quantised(import_float(path), path)
    with _located(path, "mcu"):
        from toolchain.importers.tflite import import_tflite

        return import_tflite(data, path.stem)


def import_any(path: Path | str) -> tuple[Graph, bool]:
    """Read a model file, quantised or not.

    Returns:
        The graph, and whether it is still to be quantised.

    Raises:
        ModelError: as `import_model` and `import_float`.
    """
    from toolchain.quantization import quantize, uncalibrated

    if not _code_of(path) and _read(Path(path))[4:8] == IDENTIFIER:
        try:
            return import_model(path), False
        except ModelError as error:
            if error.code != "E202":
                raise
        return import_float(path), True
    graph = import_float(path)
    return (graph, True) if uncalibrated(graph) else (quantize(graph), False)


def import_float(
    path: Path | str,
    *,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    constants: Mapping[str, float] | None = None,
) -> Graph:
    """Read a model that is still to be quantised.

    Args:
        path: a ``.tflite``, ONNX or ``.pt2`` file, with external data in its folder; or
            ``model.py:build_model``, a function of the user's code that returns a PyTorch module
            and an example input.
        shapes: of inputs that an ONNX file leaves open.
        constants: values of inputs of an ONNX file that shall be none.

    Raises:
        ModelError: as `import_model`, E213 for a model that is quantised already.
        UsageError: E122 for inputs that are not there, or have another shape.
    """
    if code := _code_of(path):
        with _located(Path(path), "torch"):
            from toolchain.importers.torch_files import import_code

            return import_code(*code)
    path = Path(path)
    data = _read(path)
    if data[4:8] == IDENTIFIER:
        with _located(path, "mcu"):
            from toolchain.importers.tflite import import_float_tflite

            return import_float_tflite(data, path.stem)
    if data.startswith(_ZIP) and path.suffix != ".keras":
        with _located(path, "torch"):
            from toolchain.importers.torch_files import import_pt2

            return import_pt2(data, path.stem)
    if data.startswith(_PICKLE) and data[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        with _located(path, "torch"):
            from toolchain.importers.torch_files import pickled

            raise pickled("a pickled file")
    if not data.startswith(_ONNX):
        raise _unknown(path, data)
    with _located(path, "onnx"):
        from toolchain.importers.onnx import import_onnx
        from toolchain.importers.onnx_file import Known

        known = Known(shapes or {}, constants or {})
        return import_onnx(data, path.stem, path.parent, known)


def _code_of(path: Path | str) -> tuple[Path, str] | None:
    """Return file and function of ``model.py:build_model``, ``None`` for anything else."""
    file, _, function = str(path).rpartition(":")
    return (Path(file), function) if file.endswith(".py") and function.isidentifier() else None


def _quantised(graph: Graph, path: Path) -> Graph:
    """Return the int8 graph of a float graph that says how each tensor is quantised."""
    from toolchain.quantization import quantize, uncalibrated

    if uncalibrated(graph):
        raise ModelError(
            "E202",
            "float model: the ranges of its values must be measured to quantise it",
            where=str(path),
            hints=[f"tessera quantize {path} --data calib.npz -o {path.stem}_int8.tflite"],
        )
    return quantize(graph)


@contextmanager
def _located(path: Path, extra: str) -> Iterator[None]:
    """Name the file in every error of its importer, and in hints that call it MODEL."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ModelError(
            "E203",
            f"reading {path.suffix or 'this'} files needs the package {error.name}",
            where=str(path),
            hints=[f'pip install "tessera[{extra}]"'],
        ) from None
    except ModelError as error:
        where = f"{path}: {error.where}" if error.where else str(path)
        hints = [hint.replace("MODEL", str(path)) for hint in error.hints]
        raise ModelError(
            error.code, error.what, where=where, numbers=error.numbers, hints=hints
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
        hints=["give a .tflite, ONNX or .pt2 file, or model.py:build_model"],
    )
