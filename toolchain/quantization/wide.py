"""Which activations get 16 bits, and what a graph must look like for it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import numpy as np

from toolchain.errors import ModelError
from toolchain.ir import DType, Graph, Node, Tensor, constant
from toolchain.numerics import Activation
from toolchain.ops import Add, HardSwish, Mul
from toolchain.quantization.activations import sharing
from toolchain.quantization.names import matching


@dataclass(frozen=True, eq=False)
class Ready:
    """A float graph as it is rounded.

    Attributes:
        graph: of the same outputs as the one that was given, but easier to round.
        wide: names of its activations that get int16.
        narrow: names of its nodes that get 4-bit weights.
    """

    graph: Graph
    wide: frozenset[str] = frozenset()
    narrow: frozenset[str] = frozenset()

    def renamed(self, graph: Graph) -> Ready:
        """Return this with ``graph``, which has the same nodes but may name tensors otherwise."""
        names = {
            old: new
            for before, after in zip(self.graph.nodes, graph.nodes, strict=True)
            for old, new in zip(before.outputs, after.outputs, strict=True)
        }
        wide = frozenset(names.get(name, name) for name in self.wide)
        return replace(self, graph=graph, wide=wide)


def every_activation(graph: Graph) -> frozenset[str]:
    """Return the names of all float activations."""
    return frozenset(
        name
        for name, tensor in graph.tensors.items()
        if tensor.dtype is DType.FLOAT32 and not tensor.is_constant
    )


def named_activations(graph: Graph, names: Collection[str]) -> frozenset[str]:
    """Return the activations that users name, and those that share their quantisation.

    Args:
        graph: a float graph.
        names: of tensors, or of nodes for what they make; ``*`` and ``?`` stand for any text.

    Raises:
        UsageError: E114 if nothing has one of the names.
    """
    known = every_activation(graph)
    labels = {name: {name} for name in known}
    for node in graph.nodes:
        labels.setdefault(node.name, set()).update(known.intersection(node.outputs))
    found: set[str] = set()
    for name in names:
        chosen = matching(labels, name, "--int16", "activation or layer")
        found.update(*(labels[one] for one in chosen))
    return sharing(graph, found)


def widened(graph: Graph, wide: frozenset[str]) -> Ready:
    """Return a float graph that can compute ``wide`` in 16 bits.

    A hard swish next to them, which has no 16-bit form, is spelled out as
    ``x * relu6(x + 3) * (1 / 6)``.

    Raises:
        ModelError: E213 if an activation carries a quantisation, which has 8 bits.
    """
    _refuse_quantised(graph)
    added: dict[str, Tensor] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        if isinstance(node.op, HardSwish) and wide.intersection((*node.inputs, *node.outputs)):
            nodes += _spelled(graph, node, added)
        else:
            nodes.append(node)
    made = (name for name, tensor in added.items() if not tensor.is_constant)
    return Ready(graph.with_nodes(nodes, added.values()), wide.union(made))


def _refuse_quantised(graph: Graph) -> None:
    for tensor in graph.tensors.values():
        if tensor.quant is not None and not tensor.is_constant:
            raise ModelError(
                "E213",
                "the model is quantised to int8 already, which finer activations cannot undo",
                where=f'tensor "{tensor.name}"',
                hints=["quantise the float model it was made of, or ask for int8 alone"],
            )


def _spelled(graph: Graph, node: Node, added: dict[str, Tensor]) -> Iterator[Node]:
    """Yield the nodes of one hard swish; add their tensors."""
    (x,) = graph.operands(node).activations
    y = graph.operands(node).output
    ones = (1,) * len(x.shape)
    gate, product = (replace(y, name=f"{y.name}/{part}") for part in ("gate", "product"))
    three = constant(f"{y.name}/three", np.full(ones, 3, DType.FLOAT32.numpy))
    sixth = constant(f"{y.name}/sixth", np.full(ones, 1 / 6, DType.FLOAT32.numpy))
    added.update({tensor.name: tensor for tensor in (gate, product, three, sixth)})
    yield Node(f"{node.name}/gate", Add(Activation.RELU6), (x.name, three.name), (gate.name,))
    yield Node(f"{node.name}/product", Mul(), (x.name, gate.name), (product.name,))
    yield Node(node.name, Mul(), (product.name, sixth.name), (y.name,))
