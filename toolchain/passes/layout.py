"""Give a network of channels-first maps inputs with channels last, so that nothing is copied."""

from __future__ import annotations

from dataclasses import replace

from toolchain.ir import Graph, Node
from toolchain.ops import Transpose
from toolchain.passes.dead_code import remove_dead_code
from toolchain.passes.identities import remove_identities
from toolchain.passes.permuted import permuted_shape
from toolchain.passes.transposes import copies, sink_transposes


def channels_last_inputs(graph: Graph) -> Graph:
    """Return the graph with those inputs channels last that it puts into that order itself.

    Inputs keep their names. An input (N, C, H, W) is exchanged for one (N, H, W, C) behind which a
    transpose restores the old order; where that meets the transposes of the graph and cancels, so
    that fewer bytes are copied, the exchange stays.
    """
    for name in graph.inputs:
        if len(graph.tensors[name].shape) in (3, 4):
            changed = _exchanged(graph, name)
            if sum(copies(changed)) < sum(copies(graph)):
                graph = changed
    return graph


def _exchanged(graph: Graph, name: str) -> Graph:
    """Return the graph with one input channels last."""
    old = graph.tensors[name]
    rank = len(old.shape)
    to_last = (0, *range(2, rank), 1)
    first = replace(old, name=f"{name}:first")
    given = replace(old, shape=permuted_shape(old.shape, to_last))
    back = Node(
        f"channels first {name}",
        Transpose((0, rank - 1, *range(1, rank - 1))),
        (name,),
        (first.name,),
    )
    nodes = [
        replace(node, inputs=tuple(first.name if one == name else one for one in node.inputs))
        for node in graph.nodes
    ]
    changed = graph.with_nodes([back, *nodes], [first, given])
    return remove_dead_code(remove_identities(sink_transposes(changed)))
