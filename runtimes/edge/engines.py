"""A model file that onnxruntime or a TFLite runtime executes, in a Python package of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codegen.call import identifier
from codegen.edge import python_files
from toolchain.errors import ToolError, UsageError

ENGINES = {"onnxruntime": (".onnx",), "tflite": (".tflite",)}
REQUIRES = {"onnxruntime": "onnxruntime>=1.16", "tflite": "ai-edge-litert>=1.0"}


@dataclass(frozen=True)
class EnginePorts:
    """What an engine says of a model: its inputs and outputs as JSON objects of `runtimes.edge`."""

    inputs: Sequence[dict[str, Any]]
    outputs: Sequence[dict[str, Any]]


def engine_files(model: Path, engine: str, name: str) -> dict[str, str | bytes]:
    """Return a Python package in which ``engine`` executes the model: ``{path: content}``.

    Args:
        model: ``.onnx`` for onnxruntime, ``.tflite`` for tflite.
        engine: a key of `ENGINES`.
        name: of the package.

    Raises:
        UsageError: E141 if the engine does not read such files, or refuses this one.
        ToolError: E605 if the engine is not installed here, where its package is made.
    """
    if model.suffix not in ENGINES[engine]:
        wanted = " or ".join(ENGINES[engine])
        raise UsageError("E141", f"{engine} executes {wanted} files", where=str(model))
    try:
        ports = onnxruntime_ports(model) if engine == "onnxruntime" else _tflite_ports(model)
    except ImportError as error:
        raise ToolError(
            "E605", f"{engine} is not installed", hints=[f'pip install "{REQUIRES[engine]}"']
        ) from error
    prefix = identifier(name)
    copy = f"model{model.suffix}"
    values = {
        "p": prefix, "name": name, "how": f"executed by {engine}",
        "requires": ["numpy>=1.22", REQUIRES[engine]],
    }  # fmt: skip
    facts = {"model": copy, "inputs": ports.inputs, "outputs": ports.outputs}
    return {
        **python_files(prefix, facts, f"{engine}_engine", values),
        f"{prefix}/{copy}": model.read_bytes(),
        ".gitignore": "build/\n*.egg-info/\n",
    }


def onnxruntime_ports(model: Path) -> EnginePorts:
    """Return what onnxruntime says of an ONNX file.

    Raises:
        UsageError: E141 if it refuses the file, or a shape is open but for its batch.
    """
    import onnxruntime

    try:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # no warnings of what it does not optimise
        session = onnxruntime.InferenceSession(
            str(model), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # what it raises is not one type
        raise _refused("onnxruntime", model, error) from None
    ports = []
    for values in (session.get_inputs(), session.get_outputs()):
        ports.append([_onnx_port(value, model) for value in values])
    return EnginePorts(*ports)


def _onnx_port(value: Any, model: Path) -> dict[str, Any]:
    names = {"float": "float32", "double": "float64", "float16": "float16", "bool": "bool"}
    kind = str(value.type).removeprefix("tensor(").removesuffix(")")
    dtype = names.get(kind, kind)
    shape = list(value.shape)
    if shape and not isinstance(shape[0], int):
        shape[0] = 1
    if not all(isinstance(size, int) for size in shape):
        raise UsageError(
            "E141",
            f"has the shape {value.shape}: only the batch may be open",
            where=f'{model}, "{value.name}"',
        )
    return _port(value.name, shape, dtype)


def _tflite_ports(model: Path) -> EnginePorts:
    from runtimes.edge.tflite_engine import interpreter_class

    try:
        interpreter = interpreter_class()(model_path=str(model))
    except (ValueError, RuntimeError) as error:
        raise _refused("tflite", model, error) from None
    details = (interpreter.get_input_details(), interpreter.get_output_details())
    return EnginePorts(*([_tflite_port(d) for d in ports] for ports in details))


def _tflite_port(detail: dict[str, Any]) -> dict[str, Any]:
    scale, zero_point = detail["quantization"]
    shape = [int(size) for size in detail["shape"]]
    return _port(detail["name"], shape, detail["dtype"].__name__, float(scale), int(zero_point))


def _port(
    name: str, shape: list[int], dtype: str, scale: float = 0.0, zero_point: int = 0
) -> dict[str, Any]:
    facts = {"name": name, "shape": shape, "dtype": dtype}
    return facts | {"scale": scale, "zero_point": zero_point}


def _refused(engine: str, model: Path, error: Exception) -> UsageError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return UsageError("E141", f"{engine} refuses the model: {reason}", where=str(model))
