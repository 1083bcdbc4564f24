"""The interpreter: the definition that C, emulator, board and every plan must equal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from toolchain.errors import UsageError
from toolchain.ir.graph import Graph
from toolchain.ir.tensor import Array, Tensor


def run(graph: Graph, inputs: Sequence[Array]) -> list[Array]:
    """Run ``graph`` on one case.

    Args:
        graph: a verified graph.
        inputs: one array per graph input, of its shape and dtype.

    Returns:
        One array per graph output.

    Raises:
        UsageError: E126 if the number, shape or dtype of the inputs is wrong.
    """
    values = trace(graph, inputs)
    return [values[name] for name in graph.outputs]


def trace(graph: Graph, inputs: Sequence[Array]) -> Mapping[str, Array]:
    """Run ``graph`` on one case and return every tensor by name, constants included."""
    if len(inputs) != len(graph.inputs):
        raise UsageError("E126", f"{len(graph.inputs)} inputs are needed, {len(inputs)} given")
    values: dict[str, Array] = {
        name: tensor.data for name, tensor in graph.tensors.items() if tensor.data is not None
    }
    for tensor, value in zip(graph.input_tensors, inputs, strict=True):
        values[tensor.name] = _checked(tensor, value)
    for node in graph.nodes:
        operands = [None if name is None else values[name] for name in node.inputs]
        results = node.op.reference(graph.operands(node), operands)
        values.update(zip(node.outputs, results, strict=True))
    return values


def _checked(tensor: Tensor, value: Array) -> Array:
    if value.shape != tensor.shape or value.dtype != tensor.dtype.numpy:
        raise UsageError(
            "E126",
            f"input must be {tensor.dtype.value}{list(tensor.shape)}, "
            f"not {value.dtype}{list(value.shape)}",
            where=f'input "{tensor.name}"',
        )
    return np.asarray(value, order="C")
