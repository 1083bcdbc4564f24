"""Sweeps over a graph: nodes replaced, removed or renamed, applied in a single step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from toolchain.ir import Graph, Node, Tensor


def until_stable(rewrite: Callable[[Graph], Graph], graph: Graph) -> Graph:
    """Apply a rewriting until it returns the graph that it was given."""
    while (rewritten := rewrite(graph)) is not graph:
        graph = rewritten
    return graph


class Rewriter:
    """Collects the changes of one pass; `result` makes the new graph.

    Inputs and outputs of the graph keep their names.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._outputs = set(graph.sinks)
        self._replaced: dict[str, Node | None] = {}
        self._aliases: dict[str, str] = {}
        self._added: list[Tensor] = []

    def resolve(self, name: str) -> str:
        """Return the name under which the new graph holds a tensor."""
        while name in self._aliases:
            name = self._aliases[name]
        return name

    def replace(self, node: Node, new: Node, tensors: Iterable[Tensor] = ()) -> None:
        """Put ``new`` in the place of ``node``, with added tensors."""
        self._replaced[node.name] = new
        self._added.extend(tensors)

    def fold(self, node: Node, constants: Iterable[Tensor]) -> None:
        """Put constants, which carry the names of its outputs, in the place of ``node``."""
        self._replaced[node.name] = None
        self._added.extend(constants)

    def forward(self, node: Node, source: str) -> bool:
        """Remove ``node``, whose only output equals the tensor ``source``.

        Returns:
            False, and nothing is changed, where the output is one of the graph's and ``source``
            cannot take its name: an input, a constant or another output.
        """
        (output,), source = node.outputs, self.resolve(source)
        if output not in self._outputs:
            self._aliases[output] = source
        elif source in self._outputs or source not in self.graph.producers:
            return False
        else:
            self._aliases[source] = output
        self._replaced[node.name] = None
        return True

    def result(self) -> Graph:
        """Return the graph with all changes."""
        nodes = (self._replaced.get(node.name, node) for node in self.graph.nodes)
        kept = [self._renamed(node) for node in nodes if node is not None]
        return self.graph.with_nodes(kept, self._added)

    def _renamed(self, node: Node) -> Node:
        inputs = tuple(None if name is None else self.resolve(name) for name in node.inputs)
        return replace(node, inputs=inputs, outputs=tuple(map(self.resolve, node.outputs)))
