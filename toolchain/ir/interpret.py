"""The interpreter: the definition that C, emulator, board and every plan must equal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from toolchain.errors import UsageError
from toolchain.ir.graph import Graph
from toolchain.ir.tensor import Array, Tensor


class Session:
    """Inferences one after another; the graph's states live on between them.

    Args:
        graph: a verified graph.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.reset()

    def reset(self) -> None:
        """Put all states back to their initial values."""
        self._states = {state.read: state.initial for state in self.graph.states}

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Run one inference.

        Args:
            inputs: one array per graph input, of its shape and dtype.

        Returns:
            One array per graph output.

        Raises:
            UsageError: E126 if the number, shape or dtype of the inputs is wrong.
        """
        values = self.trace(inputs)
        return [values[name] for name in self.graph.outputs]

    def trace(self, inputs: Sequence[Array]) -> Mapping[str, Array]:
        """Run one inference and return every tensor by name, constants included."""
        graph = self.graph
        if len(inputs) != len(graph.inputs):
            raise UsageError("E126", f"{len(graph.inputs)} inputs are needed, {len(inputs)} given")
        values: dict[str, Array] = {
            name: tensor.data for name, tensor in graph.tensors.items() if tensor.data is not None
        }
        values.update(self._states)
        for tensor, value in zip(graph.input_tensors, inputs, strict=True):
            values[tensor.name] = _checked(tensor, value)
        for node in graph.nodes:
            operands = [None if name is None else values[name] for name in node.inputs]
            results = node.op.reference(graph.operands(node), operands)
            values.update(zip(node.outputs, results, strict=True))
        self._states = {state.read: values[state.write] for state in graph.states}
        return values


def run(graph: Graph, inputs: Sequence[Array]) -> list[Array]:
    """Run ``graph`` on one case, from its initial states; see `Session.run`."""
    return Session(graph).run(inputs)


def trace(graph: Graph, inputs: Sequence[Array]) -> Mapping[str, Array]:
    """Run ``graph`` on one case, from its initial states; see `Session.trace`."""
    return Session(graph).trace(inputs)


def _checked(tensor: Tensor, value: Array) -> Array:
    if value.shape != tensor.shape or value.dtype != tensor.dtype.numpy:
        raise UsageError(
            "E126",
            f"input must be {tensor.dtype.value}{list(tensor.shape)}, "
            f"not {value.dtype}{list(value.shape)}",
            where=f'input "{tensor.name}"',
        )
    return np.asarray(value, order="C")
