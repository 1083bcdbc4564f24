"""Remove transposes: cancel them, move them down until they meet, fold them into weights.

A transpose is held back at first: its output is known as "that tensor, permuted". Operators that
do not mind the order of axes are computed before it, so that it sinks towards the outputs, where
it may cancel against another, end as a view, or vanish in the weights of a fully connected layer.
It is emitted only where an operator needs its result. If that moves more bytes or in more
transposes, the graph is left as it was.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from toolchain.ir import Graph, Node, Tensor, constant
from toolchain.ops import FullyConnected, Reshape, Transpose
from toolchain.passes.identities import keeps_order
from toolchain.passes.permuted import Perm, permuted_op, permuted_shape, reshaped_before


def sink_transposes(graph: Graph) -> Graph:
    """Return the graph with fewer, smaller or later transposes, or ``graph`` itself."""
    if not any(isinstance(node.op, Transpose) for node in graph.nodes):
        return graph
    sunk = _Sinking(graph).result()
    before, after = copies(graph), copies(sunk)
    return sunk if sum(after) <= sum(before) and len(after) <= len(before) else graph


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

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
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
        name = self._add(replace(target, name=f"{target.name}:{_inverse(perm)}", shape=shape))
        self.nodes.append(replace(node, op=Reshape(shape), inputs=(held.source,), outputs=(name,)))
        self.held[target.name] = _Held(name, perm)
        return True

    def _sink(self, node: Node) -> bool:
        """Compute ``node`` on tensors before their permutation, and hold its outputs instead."""
        perms = {self.held[name].perm for name in node.inputs if name in self.held}
        if len(perms) != 1:
            return False
        (perm,) = perms
        change = permuted_op(node.op, self.graph.operands(node), perm)
        inputs = [self._before(name, perm) for name in node.inputs]
        if change is None or None in inputs:
            return False
        outputs = []
        for name in node.outputs:
            back = _inverse(change.perm)
            shape = permuted_shape(self.tensors[name].shape, back)
            outputs.append(
                self._add(replace(self.tensors[name], name=f"{name}:{back}", shape=shape))
            )
            self.held[name] = _Held(outputs[-1], change.perm)
        self.nodes.append(replace(node, op=change.op, inputs=tuple(inputs), outputs=tuple(outputs)))
        return True

    def _before(self, name: str | None, perm: Perm) -> str | None:
        """Return an input before its permutation, ``None`` if there is no such tensor."""
        if name is None or name in self.held:
            return None if name is None else self.held[name].source
        tensor = self.tensors[name]
        if tensor.size == 1 and tensor.is_constant:
            return name
        if not tensor.is_constant or len(tensor.shape) != len(perm):
            return None
        back = _inverse(perm)
        values = np.ascontiguousarray(tensor.values.transpose(back))
        return self._add(constant(f"{name}:{back}", values, tensor.quant))

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


def _inverse(perm: Perm) -> Perm:
    return tuple(sorted(range(len(perm)), key=perm.__getitem__))
