"""The window network without padding in time: what the steps compute, all at once."""

from __future__ import annotations

from toolchain.ir import Graph
from toolchain.streaming.axis import TIME, Role, TimeAxis, rebuilt
from toolchain.streaming.build import Draft

_Rows = tuple[int, int]  # from, up to but not including; row 0 is the window network's first


def window_network(axis: TimeAxis) -> tuple[Graph, _Rows]:
    """Return the network without padding in time, and the frames it sees."""
    graph, needs = axis.graph, _needs(axis)
    draft = Draft(graph)
    frames = needs[graph.inputs[0]]
    draft.input(frames[1] - frames[0])
    for node in graph.nodes:
        role = axis.roles[node.name]
        inputs = list(node.inputs)
        for place, name in enumerate(inputs):
            if name is not None and name in axis.rates:
                target = needs.get(node.outputs[0], (0, 0))
                low, high = _need(axis, role, node.name, name, target)
                inputs[place] = draft.rows(name, low - needs[name][0], high - needs[name][0])
        rows = needs[node.outputs[0]] if role in (Role.ROWS, Role.SLIDES) else None
        draft.copy(node, node.op if rows is None else rebuilt(node.op, rows[1] - rows[0]), inputs)
    return draft.graph(graph.outputs), frames


def _needs(axis: TimeAxis) -> dict[str, _Rows]:
    """Return the rows of each tensor along time that outputs depend on."""
    outputs = (name for name in axis.graph.outputs if name in axis.rates)
    found: dict[str, _Rows] = {name: (0, axis.new_rows(name)) for name in outputs}
    for node in reversed(axis.graph.nodes):
        role = axis.roles[node.name]
        target = (0, 0)
        if role in (Role.ROWS, Role.SLIDES):
            parts = [found[name] for name in node.outputs if name in found]
            target = min(p[0] for p in parts), max(p[1] for p in parts)
            found.update(dict.fromkeys(node.outputs, target))
        for name in axis.along(node):
            low, high = _need(axis, role, node.name, name, target)
            known = found.get(name, (low, high))
            found[name] = min(low, known[0]), max(high, known[1])
    return found


def _need(axis: TimeAxis, role: Role, node: str, name: str, target: _Rows) -> _Rows:
    """Return the rows of input ``name`` that rows ``target`` of a node's output need."""
    if role is Role.GATHERS:
        return 0, axis.graph.tensors[name].shape[TIME]
    if role is Role.SLIDES:
        slide = axis.slide(next(n for n in axis.graph.nodes if n.name == node))
        return slide.needs(*target)
    return target
