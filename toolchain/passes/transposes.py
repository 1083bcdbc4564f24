"""Remove transposes: cancel them, move them down until they meet, fold them into weights.

A transpose is held back at first: its output is known as "that tensor, permuted". Operators that
do not mind the order of axes are computed before it, so that it sinks towards the outputs, where
it may cancel against another, end as a view, or vanish in the weights of a fully connected layer.
It is emitted only where an operator needs its result. If that moves more bytes or in more
transposes, the graph is left as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from toolchain.ir import Graph, Node, Operands, Tensor, constant
from toolchain.ops import FullyConnected, Op, Reshape, Transpose
from toolchain.passes.identities import keeps_order
from toolchain.passes.permuted import (
    Change,
    Perm,
    inverse,
    permuted_op,
    permuted_shape,
    reshaped_before,
)

Permuted = Callable[[Op, Operands, Perm], Change | None]


def sink_transposes(graph: Graph) -> Graph:
    """Return the graph with fewer, smaller or later transposes, or ``graph`` itself."""
    if not any(isinstance(node.op, Transpose) for node in graph.nodes):
        return graph
    sunk = sunk_transposes(graph)
    before, after = copies(graph), copies(sunk)
    return sunk if sum(after) <= sum(before) and len(after) <= len(before) else graph


def sunk_transposes(graph: Graph, permuted: Permuted = permuted_op) -> Graph:
    """Return the graph with its transposes as late as can be, whatever that costs.

    Args:
        graph: the graph.
        permuted: what operators become, as `permuted_op` says it.
    """
    return _Sinking(graph, permuted).result()


def copies(graph: Graph) -> list[int]:
    """Return the bytes that each transpose copies; those that only rename axes copy nothing."""
    moves = [(graph.operands(n).inputs[0], n.op) for n in graph.nodes]
    return [
        x.nbytes
        for x, op in moves
        if x is not None and isinstance(op, Transpose) and not keeps_order(x, op)
    ]


@dataclass(frozen=True)
class _Held:
    """A tensor that is ``source`` with its axes permuted."""

    source: str
    perm: Perm


class _Sinking:
    """One sweep from inputs to outputs."""

    def __init__(self, graph: Graph, permuted: Permuted) -> None:
        self.graph, self.permuted = graph, permuted
        self.tensors: dict[str, Tensor] = dict(graph.tensors)
        self.nodes: list[Node] = []
        self.held: dict[str, _Held] = {}
        self.reshaped: dict[str, Node] = {}  # reshapes of held tensors, held back themselves
        self.emitted: set[str] = set()

    def result(self) -> Graph:
        for node in self.graph.nodes:
            if not (self._hold(node) or self._sink(node) or self._absorb(node)):
                for name in node.inputs:
                    self._emit(name)
                self.nodes.append(node)
        for name in self.graph.sinks:
            self._emit(name)
        return self.graph.with_nodes(self.nodes, self.tensors.values())

    def _emit(self, name: str | None) -> None:
        """Compute a tensor that was held back, once."""
        if name is None or name in self.emitted:
            return
        if name in self.reshaped:
            self._emit(self.reshaped[name].inputs[0])
            self.nodes.append(self.reshaped[name])
        elif name in self.held:
            held = self.held[name]
            node = Node(f"transpose {name}", Transpose(held.perm), (held.source,), (name,))
            self.nodes.append(node)
        self.emitted.add(name)

    def _hold(self, node: Node) -> bool:
        """Hold back a transpose, joined with one before it, or a reshape of a held tensor."""
        source, target = node.inputs[0] or "", node.outputs[0]
        if isinstance(node.op, Reshape) and source in self.held:
            if not self._reshape_before(node, self.held[source]):
                self.reshaped[target] = node
            return True
        if not isinstance(node.op, Transpose) or not self._same_quant(source, target):
            return False
        if source in self.reshaped:
            self._emit(source)
        before = self.held.get(source, _Held(source, tuple(range(len(node.op.perm)))))
        self.held[target] = _Held(before.source, permuted_shape(before.perm, node.op.perm))
        return True

    def _reshape_before(self, node: Node, held: _Held) -> bool:
        """Reshape the tensor before its permutation, where that splits and joins alike."""
        target = self.tensors[node.outputs[0]]
        found = reshaped_before(self.tensors[held.source].shape, held.perm, target.shape)
        if found is None or not self._same_quant(node.inputs[0] or "", target.name):
            return False
        shape, perm = found
        name = self._add(replace(target, name=f"{target.name}:{inverse(perm)}", shape=shape))
        self.nodes.append(replace(node, op=Reshape(shape), inputs=(held.source,), outputs=(name,)))
        self.held[target.name] = _Held(name, perm)
        return True

    def _sink(self, node: Node) -> bool:
        """Compute ``node`` on tensors before their permutation, and hold its outputs instead."""
        perms = {self.held[name].perm for name in node.inputs if name in self.held}
        if len(perms) != 1:
            return False
        (perm,) = perms
        change = self.permuted(node.op, self.graph.operands(node), perm)
        if change is None or not all(self._has_before(name, perm) for name in node.inputs):
            return False
        inputs = [name and self._before(name, perm) for name in node.inputs]
        outputs = []
        for name in node.outputs:
            back = inverse(change.perm)
            shape = permuted_shape(self.tensors[name].shape, back)
            outputs.append(
                self._add(replace(self.tensors[name], name=f"{name}:{back}", shape=shape))
            )
            self.held[name] = _Held(outputs[-1], change.perm)
        self.nodes.append(replace(node, op=change.op, inputs=tuple(inputs), outputs=tuple(outputs)))
        return True

    def _has_before(self, name: str | None, perm: Perm) -> bool:
        """Tell whether there is such a tensor as it was before its permutation."""
        if name is None or name in self.held or _unmoved(self.tensors[name], perm):
            return True
        tensor = self.tensors[name]
        return tensor.is_constant and len(tensor.shape) == len(perm)

    def _before(self, name: str, perm: Perm) -> str:
        """Return an input as it was before its permutation."""
        tensor = self.tensors[name]
        if name in self.held:
            return self.held[name].source
        if _unmoved(tensor, perm):
            return name
        back = inverse(perm)
        values = np.ascontiguousarray(tensor.values.transpose(back))
        return self._add(constant(f"{name}:{back}", values, tensor.quant, tensor.dtype))

    def _absorb(self, node: Node) -> bool:
        """Let the columns of a fully connected layer's weights take the order of its input."""
        name = node.inputs[0] or ""
        held = self.held.get(
            (self.reshaped[name].inputs[0] if name in self.reshaped else name) or ""
        )
        if not isinstance(node.op, FullyConnected) or held is None or node.op.keep_dims:
            return False
        source, weights = self.tensors[held.source], self.graph.operands(node).input(1)
        rows_stay = held.perm[0] == 0 and source.size == source.shape[0] * weights.shape[1]
        if not rows_stay or not self._same_quant(held.source, name):
            return False
        places = np.arange(weights.shape[1]).reshape(source.shape[1:])
        order = places.transpose([axis - 1 for axis in held.perm[1:]]).reshape(-1)
        values = np.empty_like(weights.values)
        values[:, order] = weights.values
        reordered = self._add(constant(f"{weights.name}:{held.perm}", values, weights.quant))
        self.nodes.append(replace(node, inputs=(held.source, reordered, *node.inputs[2:])))
        return True

    def _same_quant(self, first: str, second: str) -> bool:
        return self.tensors[first].quant == self.tensors[second].quant

    def _add(self, tensor: Tensor) -> str:
        """Add a tensor under a name of its own."""
        name = tensor.name
        while name in self.tensors:
            name += "'"
        self.tensors[name] = replace(tensor, name=name)
        return name


def _unmoved(tensor: Tensor, perm: Perm) -> bool:
    """Tell whether ``perm`` moves no element: the tensor's axes are aligned with the last ones."""
    missing = len(perm) - len(tensor.shape)
    sizes = enumerate(tensor.shape, missing)
    return missing >= 0 and all(size == 1 or perm[axis] == axis for axis, size in sizes)
