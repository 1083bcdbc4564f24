"""The graph: frozen nodes and tensors, edges by name.

A pass takes a graph and returns a new one; nothing is changed in place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING

from toolchain.errors import ModelError
from toolchain.ir.tensor import Array, Tensor

if TYPE_CHECKING:
    from toolchain.ops.base import Op


@dataclass(frozen=True)
class Node:
    """One operator applied to named tensors.

    Attributes:
        name: unique in its graph; a C identifier may be made from it.
        op: the operator with its attributes.
        inputs: tensor names in the operator's order; ``None`` for an absent optional input.
        outputs: tensor names.
    """

    name: str
    op: Op
    inputs: tuple[str | None, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Operands:
    """A node's tensors, resolved: what every question to an operator is asked with."""

    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]

    def input(self, index: int) -> Tensor:
        """Return a required input."""
        tensor = self.inputs[index]
        if tensor is None:
            raise ValueError(f"input {index} is absent")
        return tensor

    def optional(self, index: int) -> Tensor | None:
        """Return an optional input, ``None`` when absent or not given."""
        return self.inputs[index] if index < len(self.inputs) else None

    @property
    def output(self) -> Tensor:
        """Return the only output.

        Raises:
            ModelError: E205 if there is another number of them.
        """
        if len(self.outputs) != 1:
            raise ModelError("E205", f"an operator of one output has {len(self.outputs)}")
        return self.outputs[0]

    @property
    def activations(self) -> tuple[Tensor, ...]:
        """Return the inputs that are not constants, in order."""
        return tuple(t for t in self.inputs if t is not None and not t.is_constant)


@dataclass(frozen=True, eq=False)
class State:
    """Memory that lives on from one inference to the next.

    Attributes:
        read: the tensor that holds its value when an inference begins; no node makes it.
        write: the tensor that holds the value for the next inference. The node that makes it
            updates ``read`` in place (`Lowered.homes`), so both are one buffer.
        initial: the value before the first inference, of the tensors' shape and dtype.
    """

    read: str
    write: str
    initial: Array


@dataclass(frozen=True, eq=False)
class Graph:
    """A network: nodes in an executable order, all tensors by name.

    Attributes:
        name: a label for reports and file names.
        nodes: topologically sorted.
        tensors: every tensor that a node, an input or an output names.
        inputs: names of the tensors the caller provides.
        outputs: names of the tensors the caller receives.
        states: memory that lives on between inferences.
    """

    name: str
    nodes: tuple[Node, ...]
    tensors: Mapping[str, Tensor]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    states: tuple[State, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "tensors", MappingProxyType(dict(self.tensors)))

    def __repr__(self) -> str:
        sides = (
            ", ".join(map(_port, self.input_tensors)),
            ", ".join(map(_port, self.output_tensors)),
        )
        return f"Graph({self.name!r}: {sides[0]} -> {sides[1]}, {len(self.nodes)} nodes)"

    def operands(self, node: Node) -> Operands:
        """Return the tensors of ``node``."""
        return Operands(
            tuple(None if name is None else self.tensors[name] for name in node.inputs),
            tuple(self.tensors[name] for name in node.outputs),
        )

    @cached_property
    def producers(self) -> Mapping[str, Node]:
        """Return for each computed tensor the node that makes it."""
        return {name: node for node in self.nodes for name in node.outputs}

    @cached_property
    def consumers(self) -> Mapping[str, tuple[Node, ...]]:
        """Return for each tensor the nodes that read it, in order, each once."""
        found: dict[str, list[Node]] = {name: [] for name in self.tensors}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                if name is not None:
                    found[name].append(node)
        return {name: tuple(nodes) for name, nodes in found.items()}

    @property
    def input_tensors(self) -> tuple[Tensor, ...]:
        """Return the tensors the caller provides."""
        return tuple(self.tensors[name] for name in self.inputs)

    @property
    def output_tensors(self) -> tuple[Tensor, ...]:
        """Return the tensors the caller receives."""
        return tuple(self.tensors[name] for name in self.outputs)

    @property
    def sources(self) -> tuple[str, ...]:
        """Return the tensors that are there before the first node: inputs and states."""
        return (*self.inputs, *(state.read for state in self.states))

    @property
    def sinks(self) -> tuple[str, ...]:
        """Return the tensors that are needed behind the last node: outputs and states."""
        return (*self.outputs, *(state.write for state in self.states))

    def read_once(self, name: str) -> bool:
        """Tell whether one node alone needs a tensor: nothing behind the last node does."""
        return len(self.consumers[name]) == 1 and name not in self.sinks

    @property
    def macs(self) -> int:
        """Return the multiply-accumulates of one inference, each output computed once."""
        return sum(node.op.macs(self.operands(node)) for node in self.nodes)

    @property
    def weight_bytes(self) -> int:
        """Return the bytes of all constants that nodes read as data (weights, biases, tables)."""
        used = {name for node in self.nodes for name in node.inputs if name is not None}
        return sum(t.nbytes for name, t in self.tensors.items() if name in used and t.is_constant)

    def with_nodes(self, nodes: Iterable[Node], tensors: Iterable[Tensor] = ()) -> Graph:
        """Return the graph with other nodes and added or replaced tensors; drops unused ones."""
        kept = tuple(nodes)
        known = {**self.tensors, **{tensor.name: tensor for tensor in tensors}}
        used = {*self.sources, *self.sinks}
        for node in kept:
            used.update(name for name in (*node.inputs, *node.outputs) if name is not None)
        return replace(self, nodes=kept, tensors={n: t for n, t in known.items() if n in used})


def _port(tensor: Tensor) -> str:
    return f"{tensor.name} {tensor.dtype.value}{list(tensor.shape)}"
