"""What Python programs call: the verbs of the command line as functions on values.

import toolchain as ts

graph = ts.import_torch(module, example_input)      # or ts.import_float("model.onnx")
int8 = ts.quantize(graph, calibration)
int8 = ts.finetune(int8, images, teacher=graph)     # optional, with PyTorch
ts.save_tflite(int8, "model_int8.tflite")
ts.compile(int8, board="nucleo_h743zi", output="build")
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from toolchain.errors import UsageError
from toolchain.exporters.tflite import export_tflite
from toolchain.files import write_whole
from toolchain.importers import ModelWarning, import_float, import_model
from toolchain.ir import Array, Graph, run
from toolchain.passes import channels_last_inputs, simplify
from toolchain.quantization import compare_layers, quantize_mixed
from toolchain.quantization import quantize as quantize_cases
from toolchain.reference import run_float

if TYPE_CHECKING:
    from toolchain.cli.pipeline import Project

__all__ = [
    "compare_layers",
    "compile",
    "fake_quantised",
    "finetune",
    "import_float",
    "import_model",
    "import_torch",
    "quantize",
    "run",
    "run_float",
    "save_tflite",
]


def import_torch(module: Any, example_input: Any, name: str = "model") -> Graph:
    """Return the float graph of a PyTorch module.

    Args:
        module: a ``torch.nn.Module``.
        example_input: a float32 tensor of the shape that the module is called with, or a tuple.
        name: the graph's name.

    Raises:
        ModelError: E207, E208, E210, E214 as `toolchain.importers.torch_export.import_torch`.
    """
    from toolchain.importers.torch_export import import_torch as read

    return read(module, example_input, name)


def quantize(
    graph: Graph,
    data: Any,
    method: str = "minmax",
    *,
    mixed: float | None = None,
    **options: Any,
) -> Graph:
    """Return the integer graph of a float graph, with inputs in the same layout.

    Args:
        graph: a float graph.
        data: sample inputs: an array or tensor (N, *shape) for a graph of one input, where the
            shape may be without the batch of 1; else an iterable of cases, each a sequence of one
            array per input, or one array.
        method: how ranges of int8 are chosen, a key of `toolchain.quantization.METHODS`.
        mixed: in dB: int16 for as few activations as outputs with this signal to noise ratio need
            (`toolchain.quantization.quantize_mixed`).
        options: further keywords of `toolchain.quantization.quantize`: ``activations="int16"``,
            ``int16=["conv_3"]`` and others.

    Raises:
        UsageError: E114, E115 as `toolchain.quantization.quantize`; E122 for other shapes.
        FitError: E308 if ``mixed`` is out of reach.
    """
    cases = cases_of(graph, data)
    if mixed is not None:
        return quantize_mixed(graph, cases, mixed, method, **options).graph
    return quantize_cases(graph, cases, method, **options)


def finetune(
    graph: Graph,
    inputs: Any,
    targets: Any = None,
    loss: Callable[[Any, Any], Any] | None = None,
    **options: Any,
) -> Graph:
    """Return an integer graph whose weights were trained further, rounding in the loop (PyTorch).

    Args:
        graph: what `quantize` returned.
        inputs: an array or tensor (N, *shape), or one per graph input.
        targets: an array or tensor of N; not needed beside a teacher.
        loss: of a batch of outputs and targets; cross-entropy if not given.
        options: further keywords of `toolchain.quantization.finetune.finetune`: ``teacher`` (the
            float graph), ``epochs``, ``batch``, ``rate``, ``damping``, ``seed``.

    Raises:
        UsageError: E115, E122 for a loss or shapes that cannot be trained with.
        ModelError: E202 for an operator that is not trained.
    """
    from toolchain.quantization.finetune import finetune as tune

    return tune(graph, inputs, targets, loss, **options)


def fake_quantised(graph: Graph) -> Any:
    """Return a ``torch.nn.Module`` of an integer graph, for training loops of one's own.

    Its outputs are those of the interpreter, its method ``quantised()`` returns the graph with the
    weights of now; see `toolchain.quantization.finetune.fake_quantised`.
    """
    from toolchain.quantization.finetune import fake_quantised as module_of

    return module_of(graph)


def cases_of(graph: Graph, data: Any) -> list[list[Array]]:
    """Return sample inputs as cases of one float32 array per graph input; see `quantize`."""
    items: Iterable[Any] = np.asarray(data, np.float32) if hasattr(data, "shape") else data
    return [_case(graph, item) for item in items]


def _case(graph: Graph, item: Any) -> list[Array]:
    parts: Sequence[Any] = item if isinstance(item, tuple | list) else [item]
    if len(parts) != len(graph.inputs):
        raise UsageError(
            "E122", f"{len(graph.inputs)} arrays per case are needed, not {len(parts)}"
        )
    found = []
    for tensor, part in zip(graph.input_tensors, parts, strict=True):
        array = np.asarray(part, np.float32)
        if array.shape not in (tensor.shape, tensor.shape[1:]):
            raise UsageError(
                "E122",
                f"needs an array {list(tensor.shape)}, not {list(array.shape)}",
                where=f'input "{tensor.name}"',
            )
        found.append(array.reshape(tensor.shape))
    return found


def save_tflite(graph: Graph, path: Path | str, *, keep_layout: bool = False) -> Path:
    """Write an int8 graph as a ``.tflite`` file.

    Args:
        graph: an int8 graph.
        path: the file.
        keep_layout: keep channels-first inputs; else they become channels last, without a copy.

    Raises:
        ModelError: E211 if the format cannot express a node.
    """
    final = simplify(graph if keep_layout else channels_last_inputs(graph))
    target = Path(path)
    write_whole(target, export_tflite(final))
    return target


def compile(  # noqa: A001  the verb's name
    model: Graph | Path | str,
    board: str,
    output: Path | str = "build",
    *,
    keep_layout: bool = False,
) -> Project:
    """Write the C99 project of an int8 model for a board, with the default plan.

    Args:
        model: an int8 graph, or a model file.
        board: an id of ``tessera boards`` or a TOML file; ``host`` is one.
        output: folder of the project.
        keep_layout: of a graph: keep channels-first inputs, as in `save_tflite`.

    Returns:
        The project: its folder, graph, plan, board and name.

    Raises:
        FitError: E301 if it does not fit the board; nothing is written then.
    """
    from toolchain.cli.compile import compile_model
    from toolchain.cli.report import Reporter

    reporter = Reporter(json=True)  # which stays silent
    with tempfile.TemporaryDirectory() as folder:
        if isinstance(model, Graph):
            file = Path(folder) / f"{model.name}.tflite"
            model = save_tflite(model, file, keep_layout=keep_layout)
        project, _ = compile_model(reporter, Path(model), board, Path(output))
    for text in reporter.warnings:
        warnings.warn(text, ModelWarning, stacklevel=2)
    return project
