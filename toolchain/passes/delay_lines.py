"""Turn sliding windows over time, as converters write them, into delay lines updated in place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from toolchain.ir import Graph, Node, State, Tensor
from toolchain.ops import Assign, Concat, Shift, StridedSlice

_ROWS = 1


@dataclass(frozen=True)
class _Window:
    """A state joined with new rows by ``join``; its last rows, cut by ``cut``, are the next."""

    state: State
    join: Node
    cut: Node
    assign: Node


def fuse_delay_lines(graph: Graph) -> Graph:
    """Return the graph with each window over time as one state that holds the whole window.

    ``window = concat(state, x); state = window[-len(state):]`` becomes
    ``window = shift(window, x)``: one buffer instead of three, one move of its rows, not three.
    """
    found = list(_windows(graph))
    if not found:
        return graph
    states = {window.state: window for window in found}
    joins = {window.join.name: window for window in found}
    gone = {node.name for window in found for node in (window.cut, window.assign)}
    tensors = [_line(graph, window) for window in found]
    nodes = [
        _shift(node, joins[node.name]) if node.name in joins else node
        for node in graph.nodes
        if node.name not in gone
    ]
    new = tuple(_state(graph, states[s]) if s in states else s for s in graph.states)
    return replace(graph, states=new).with_nodes(nodes, tensors)


def _windows(graph: Graph) -> Iterator[_Window]:
    for state in graph.states:
        assign = graph.producers[state.write]
        readers = [node for node in graph.consumers[state.read] if node is not assign]
        cut = graph.producers.get(assign.inputs[1] or "")
        if not isinstance(assign.op, Assign) or len(readers) != 1 or cut is None:
            continue
        window = _Window(state, readers[0], cut, assign)
        if _slides(graph, window):
            yield window


def _slides(graph: Graph, window: _Window) -> bool:
    join, cut, state = window.join, window.cut, window.state
    joins = isinstance(join.op, Concat) and join.op.axis == _ROWS and len(join.inputs) == 2
    if not joins or join.inputs[0] != state.read or not isinstance(cut.op, StridedSlice):
        return False
    kept, whole = graph.tensors[state.read].shape, graph.operands(join).output.shape
    begin = tuple(size - rest for size, rest in zip(whole, kept, strict=True))
    op = cut.op
    last = op.begin == begin and op.end == whole and set(op.strides) == {1} and not op.shrink
    alone = graph.read_once(cut.outputs[0])
    new = graph.tensors[join.inputs[1] or ""]
    return (
        last
        and alone
        and cut.inputs[0] == join.outputs[0]
        and join.outputs[0] not in graph.sinks
        and not new.is_constant
        and whole[0] == 1
    )


def _line(graph: Graph, window: _Window) -> Tensor:
    """Return the tensor of the whole window as it was left by the last inference."""
    joined = graph.operands(window.join).output
    return replace(joined, name=f"{window.state.read}.line")


def _shift(join: Node, window: _Window) -> Node:
    return replace(join, op=Shift(), inputs=(f"{window.state.read}.line", join.inputs[1]))


def _state(graph: Graph, window: _Window) -> State:
    joined, initial = graph.operands(window.join).output, window.state.initial
    new = joined.shape[_ROWS] - initial.shape[_ROWS]
    # The rows in front leave before anybody reads them: any value will do.
    front = np.repeat(initial[:, :1], new, axis=_ROWS)
    whole = np.concatenate([front, initial], axis=_ROWS)
    return State(f"{window.state.read}.line", joined.name, whole)
