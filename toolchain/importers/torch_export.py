"""PyTorch modules and ``.pt2`` files, by way of ``torch.export``.

The module is traced by PyTorch itself; what the importer reads is the program of ATen operators,
of which those without a reader are decomposed first.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from toolchain.errors import ModelError
from toolchain.importers.aten_readers import READERS
from toolchain.importers.torch_walk import op_name, read_program
from toolchain.ir import Graph
from toolchain.passes import simplify_float
from toolchain.reference import verify_float


def import_torch(module: Any, example: Any, name: str = "model") -> Graph:
    """Return the float graph of a PyTorch module in inference.

    Inputs and outputs keep the module's order of axes; inside, maps are channels last.

    Args:
        module: a ``torch.nn.Module``; it is traced in evaluation mode and left as it was.
        example: a float32 tensor of the shape that the module will be called with, or a tuple of
            one per argument. Its values play no part.
        name: the graph's name.

    Raises:
        ModelError: E207 shapes that are not fixed, E208 inputs that are not float32, E210
            unsupported operators, all of them, E214 a module that cannot be exported.
    """
    import torch

    if not isinstance(module, torch.nn.Module):
        raise ModelError("E214", f"not a torch.nn.Module but a {type(module).__name__}")
    arguments = tuple(example) if isinstance(example, tuple | list) else (example,)
    if not all(isinstance(one, torch.Tensor) for one in arguments):
        raise ModelError("E214", "the example input must be a tensor or a tuple of tensors")
    with _inference(module), quiet():
        try:
            program = torch.export.export(module, arguments)
        except Exception as error:
            raise ModelError(
                "E214",
                f"torch.export cannot trace the module: {_first_line(error)}",
                hints=["torch.export.export(module, (example,)) shows the place in its code"],
            ) from None
        return import_program(program, name)


def import_program(program: Any, name: str) -> Graph:
    """Return the float graph of a ``torch.export.ExportedProgram``.

    Raises:
        ModelError: as `import_torch`.
    """
    import torch

    table = torch.export.default_decompositions()
    kept = {op: table[op] for op in list(table) if op_name(op) not in READERS}
    program = program.run_decompositions(kept)
    return verify_float(simplify_float(read_program(program, name)))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep PyTorch's own warnings and log lines off the user's screen."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


@contextlib.contextmanager
def _inference(module: Any) -> Iterator[None]:
    """Put a module in evaluation mode for a while."""
    training: Sequence[tuple[Any, bool]] = [(one, one.training) for one in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for one, was in training:
            one.training = was


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
