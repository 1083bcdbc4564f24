"""Names that people know: of the tensors that other passes renamed while they moved them."""

from __future__ import annotations

from dataclasses import replace

from toolchain.ir import Graph


def plain_names(graph: Graph) -> Graph:
    """Return the graph with activations called as in the file, without marks of their layout.

    A pass that computes a tensor in another order of axes adds the order to its name, after a
    colon. Where no tensor of the first name is left, the mark says nothing.
    """
    kept = {name for state in graph.states for name in (state.read, state.write)}
    marked = [
        name
        for name, tensor in graph.tensors.items()
        if ":(" in name and not tensor.is_constant and name not in kept
    ]
    taken = set(graph.tensors)
    renamed: dict[str, str] = {}
    for name in marked:
        plain = name.split(":(", maxsplit=1)[0]
        if plain not in taken and plain:
            renamed[name] = plain
            taken.add(plain)
    nodes = tuple(
        replace(
            node,
            inputs=tuple(renamed.get(one or "", one) for one in node.inputs),
            outputs=tuple(renamed.get(one, one) for one in node.outputs),
        )
        for node in graph.nodes
    )
    tensors = {
        renamed.get(name, name): replace(tensor, name=renamed.get(name, name))
        for name, tensor in graph.tensors.items()
    }
    ports = [tuple(renamed.get(n, n) for n in names) for names in (graph.inputs, graph.outputs)]
    return replace(graph, nodes=nodes, tensors=tensors, inputs=ports[0], outputs=ports[1])
