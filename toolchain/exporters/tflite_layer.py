"""One node on its way into a ``.tflite`` file, and the file as it grows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from toolchain.errors import ModelError
from toolchain.exporters.tflite_writer import Handle, Record
from toolchain.importers.tflite_types import ACTIVATIONS
from toolchain.ir import Array, Graph, Node, Operands, Tensor, constant
from toolchain.numerics import Activation
from toolchain.ops import Op

_ACTIVATION_CODES = {activation: code for code, activation in enumerate(ACTIVATIONS.values())}
_SomeOp = TypeVar("_SomeOp", bound=Op)


class Draft:
    """The file as it grows.

    Attributes:
        tensors: the graph's, and added constants.
        records: the operators.
        handles: the variable of each state, by the tensor that is written to it.
        read: the tensors that nodes or the caller read.
        states: the graph's.
    """

    def __init__(self, graph: Graph) -> None:
        self.tensors: dict[str, Tensor] = dict(graph.tensors)
        self.records: list[Record] = []
        self.handles: dict[str, Handle] = {}
        self.states = graph.states
        self.read = {*graph.outputs, *(name for name, who in graph.consumers.items() if who)}

    def add(self, tensor: Tensor) -> str:
        """Add a tensor, renamed if its name is taken; returns its name."""
        name, copy = tensor.name, 0
        while name in self.tensors:
            copy += 1
            name = f"{tensor.name}_{copy}"
        self.tensors[name] = replace(tensor, name=name)
        return name


@dataclass(frozen=True)
class Layer:
    """A node with its tensors and the draft it is written to."""

    node: Node
    operands: Operands
    draft: Draft

    def op(self, kind: type[_SomeOp]) -> _SomeOp:
        """Return the node's operator, which is a ``kind``."""
        if not isinstance(self.node.op, kind):
            raise TypeError(f"{self.node.op.name} is no {kind.name}")
        return self.node.op

    def integers(self, label: str, values: npt.ArrayLike) -> str:
        """Add an int32 constant, a parameter that the file holds as an input."""
        data: Array = np.array(values, dtype=np.int32)
        return self.draft.add(constant(f"{self.node.name}/{label}", data))

    def reals(self, label: str, values: npt.ArrayLike) -> str:
        """Add a float32 constant, a parameter that the file holds as an input."""
        data: Array = np.array(values, dtype=np.float32)
        return self.draft.add(constant(f"{self.node.name}/{label}", data))

    def record(
        self,
        code: str,
        version: int,
        options: str = "",
        fields: Mapping[str, int | float | str] | None = None,
        inputs: Sequence[str | None] | None = None,
    ) -> Record:
        """Return the node's record; its inputs are the node's own unless given.

        Absent inputs at the end are left out, as some runtimes do not check for them.
        """
        given = list(self.node.inputs if inputs is None else inputs)
        while given and given[-1] is None:
            given.pop()
        return Record(code, version, tuple(given), self.node.outputs, options, fields or {})

    def refuse(self, why: str) -> ModelError:
        """Return the error for a node that the format cannot express."""
        return ModelError(
            "E211",
            f"{self.node.op.name} cannot be written as .tflite: {why}",
            where=f'node "{self.node.name}"',
        )


Writer = Callable[[Layer], Record]


def fused(activation: Activation) -> dict[str, int]:
    """Return the option field of a fused activation."""
    return {"FusedActivationFunction": _ACTIVATION_CODES[activation]}
