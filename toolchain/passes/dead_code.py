"""Remove nodes that no output of the graph depends on."""

from __future__ import annotations

from toolchain.ir import Graph


def remove_dead_code(graph: Graph) -> Graph:
    """Return the graph without nodes whose outputs nobody reads; inputs and states stay."""
    needed = set(graph.sinks)
    kept = []
    for node in reversed(graph.nodes):
        if needed.intersection(node.outputs):
            needed.update(name for name in node.inputs if name is not None)
            kept.append(node)
    return graph.with_nodes(reversed(kept))
