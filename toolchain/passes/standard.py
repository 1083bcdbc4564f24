"""Spell out what only this toolchain has as one operator, for runtimes that shall run the file."""

from __future__ import annotations

import numpy as np

from toolchain.ir import Graph, Node, Tensor, constant
from toolchain.ops import Add, LayerNorm, Mean, Mul, Op, Rsqrt, Sub
from toolchain.ops.layer_norm import real_values


def spell_out_layer_norms(graph: Graph) -> Graph:
    """Return a float graph with layer normalisation as TensorFlow Lite's own operators.

    Each of the eight rounds to its own scale when it is quantised, where one operator rounds once.
    """
    nodes: list[Node] = []
    added: list[Tensor] = []
    for node in graph.nodes:
        if isinstance(node.op, LayerNorm):
            spelling = _Spelling(graph, node)
            spelling.write(node.op.epsilon)
            nodes += spelling.nodes
            added += spelling.tensors
        else:
            nodes.append(node)
    return graph.with_nodes(nodes, added)


class _Spelling:
    """Nodes and tensors in the place of one layer normalisation."""

    def __init__(self, graph: Graph, node: Node) -> None:
        self.node, self.operands = node, graph.operands(node)
        self.nodes: list[Node] = []
        self.tensors: list[Tensor] = []

    def write(self, epsilon: float) -> None:
        """Add all nodes; the last one makes what the layer normalisation made."""
        x, y = self.operands.input(0), self.operands.output
        rank, depth = len(x.shape), x.shape[-1]
        average = Mean((rank - 1,), keep_dims=True)
        single = (*x.shape[:-1], 1)
        mean = self._add(average, (x.name,), single)
        made = self._add(Sub(), (x.name, mean), x.shape)
        square = self._add(Mul(), (made, made), x.shape)
        variance = self._add(average, (square,), single)
        total = self._add(Add(), (variance, self._constant(np.full((1,) * rank, epsilon))), single)
        root = self._add(Rsqrt(), (total,), single)
        steps: list[tuple[Op, str]] = [(Mul(), root)]
        factors: tuple[tuple[int, Op], ...] = ((1, Mul()), (2, Add()))
        for place, op in factors:
            if self.operands.optional(place) is not None:
                values = real_values(self.operands.optional(place), depth, 0.0)
                steps.append((op, self._constant(values)))
        for op, other in steps[:-1]:
            made = self._add(op, (made, other), x.shape)
        op, other = steps[-1]
        self.nodes.append(Node(self.node.name, op, (made, other), (y.name,)))

    def _add(self, op: Op, inputs: tuple[str, ...], shape: tuple[int, ...]) -> str:
        number, y = len(self.nodes), self.operands.output
        made = Tensor(f"{y.name}/{number}", shape, y.dtype)
        self.nodes.append(Node(f"{self.node.name}/{number}", op, inputs, (made.name,)))
        self.tensors.append(made)
        return made.name

    def _constant(self, values: object) -> str:
        made = constant(
            f"{self.node.name}/constant_{len(self.tensors)}", np.asarray(values, np.float32)
        )
        self.tensors.append(made)
        return made.name
