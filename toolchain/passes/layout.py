"""Give a network of channels-first maps inputs with channels last, so that nothing is copied."""

from __future__ import annotations

from dataclasses import replace

from toolchain.ir import Graph, Node
from toolchain.ops import Reshape, Transpose
from toolchain.passes.dead_code import remove_dead_code
from toolchain.passes.identities import remove_identities
from toolchain.passes.permuted import Perm, inverse, permuted_shape
from toolchain.passes.transposes import copies, sink_transposes


def channels_last_inputs(graph: Graph) -> Graph:
    """Return the graph with those inputs channels last that it puts into that order itself.

    Inputs keep their names. An input (N, C, H, W) is exchanged for one (N, H, W, C) behind which a
    transpose restores the old order; where that meets the transposes of the graph and cancels, so
    that fewer bytes are copied, the exchange stays. An input of another shape that is only seen as
    a map of one image takes the shape of that map.
    """
    for name in graph.inputs:
        if len(graph.tensors[name].shape) in (3, 4):
            changed = _exchanged(graph, name)
            if sum(copies(changed)) < sum(copies(graph)):
                graph = changed
        graph = _as_map(graph, name)
    return graph


def _as_map(graph: Graph, name: str) -> Graph:
    """Return the graph with one input in the shape of the map that its only reader makes of it."""
    given, readers = graph.tensors[name], graph.consumers[name]
    if len(readers) != 1 or not isinstance(readers[0].op, Reshape) or name in graph.sinks:
        return graph
    (output,) = readers[0].outputs
    view = graph.tensors[output]
    alike = (view.dtype, view.quant) == (given.dtype, given.quant)
    if output in graph.sinks or not alike or len(view.shape) != 4 or view.shape[0] != 1:
        return graph
    nodes = [
        replace(node, inputs=tuple(name if one == output else one for one in node.inputs))
        for node in graph.nodes
        if node is not readers[0]
    ]
    return graph.with_nodes(nodes, [replace(given, shape=view.shape)])


def _exchanged(graph: Graph, name: str) -> Graph:
    """Return the graph with one input channels last."""
    rank = len(graph.tensors[name].shape)
    changed = exchanged_input(graph, name, (0, *range(2, rank), 1))
    return remove_dead_code(remove_identities(sink_transposes(changed)))


def exchanged_input(graph: Graph, name: str, perm: Perm) -> Graph:
    """Return the graph with the axes of one input permuted, and put back behind it."""
    old = graph.tensors[name]
    inner = replace(old, name=f"{name}:inner")
    given = replace(old, shape=permuted_shape(old.shape, perm))
    back = Node(f"axes of {name}", Transpose(inverse(perm)), (name,), (inner.name,))
    nodes = [
        replace(node, inputs=tuple(inner.name if one == name else one for one in node.inputs))
        for node in graph.nodes
    ]
    return graph.with_nodes([back, *nodes], [inner, given])
