"""A graph that grows from another's nodes with other numbers of rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from toolchain.errors import ModelError
from toolchain.ir import Graph, Node, Operands, State, Tensor
from toolchain.ops import StridedSlice
from toolchain.ops.base import Op
from toolchain.streaming.axis import TIME


class Draft:
    """The new graph; tensors of the old one keep their names.

    Attributes:
        states: added states.
    """

    def __init__(self, graph: Graph) -> None:
        self._old = graph
        self._tensors = {name: t for name, t in graph.tensors.items() if t.is_constant}
        self._nodes: list[Node] = []
        self.states: list[State] = []

    def input(self, rows: int) -> None:
        """Give the graph's input ``rows`` rows."""
        (frames,) = self._old.input_tensors
        self._keep(replace(frames, shape=(1, rows, *frames.shape[TIME + 1 :])))

    def tensor(self, name: str) -> Tensor:
        """Return a tensor of the new graph."""
        return self._tensors[name]

    def copy(self, node: Node, op: Op, inputs: Sequence[str | None]) -> None:
        """Add ``node`` with another operator and inputs; shapes follow from these."""
        given = tuple(None if name is None else self._tensors[name] for name in inputs)
        outputs = self._old.operands(node).outputs
        types = op.infer(Operands(given, outputs))
        for tensor, made in zip(outputs, types, strict=True):
            self._keep(replace(tensor, shape=made.shape))
        self._nodes.append(replace(node, op=op, inputs=tuple(inputs)))

    def add(self, op: Op, inputs: Sequence[str], name: str, shape: tuple[int, ...]) -> str:
        """Add a node whose output is like its last input but for its shape."""
        self._keep(replace(self._tensors[inputs[-1]], name=name, shape=shape))
        number = len(self._nodes)
        self._nodes.append(Node(f"{op.name}_in_time_{number}", op, tuple(inputs), (name,)))
        return name

    def rows(self, name: str, low: int, high: int) -> str:
        """Return rows ``[low, high)`` of a tensor, itself if these are all."""
        tensor = self._tensors[name]
        if (low, high) == (0, tensor.shape[TIME]):
            return name
        part = f"{name}[{low}:{high}]"
        if part in self._tensors:
            return part
        begin = (0, low, *(0 for _ in tensor.shape[TIME + 1 :]))
        end = (tensor.shape[0], high, *tensor.shape[TIME + 1 :])
        op = StridedSlice(begin, end, tuple(1 for _ in end))
        shape = (tensor.shape[0], high - low, *tensor.shape[TIME + 1 :])
        return self.add(op, [name], part, shape)

    def state(self, like: str, name: str, shape: tuple[int, ...]) -> Tensor:
        """Add a tensor for a state like another but for its shape."""
        return self._keep(replace(self._tensors[like], name=name, shape=shape))

    def graph(self, outputs: Sequence[str]) -> Graph:
        """Return the new graph."""
        parts = tuple(self._nodes), self._tensors, self._old.inputs, tuple(outputs)
        new = Graph(self._old.name, *parts, tuple(self.states))
        return new.with_nodes(new.nodes)

    def _keep(self, tensor: Tensor) -> Tensor:
        if any(size <= 0 for size in tensor.shape):
            raise ModelError("E215", "nothing is left of it", where=f'tensor "{tensor.name}"')
        self._tensors[tensor.name] = tensor
        return tensor
