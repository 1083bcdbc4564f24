"""States, as the resource variables of a ``.tflite`` file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from toolchain.exporters.tflite_layer import Draft, Layer
from toolchain.exporters.tflite_recurrent import variables
from toolchain.exporters.tflite_writer import Handle, Record, Subgraph
from toolchain.ir import Graph, Node, State, Tensor, constant
from toolchain.ops import Assign, Concat, Shift, StridedSlice

_ROWS = 1
_HANDLE, _ONCE = "VarHandleOptions", "CallOnceOptions"


def spell_out_delay_lines(graph: Graph) -> Graph:
    """Return the graph with delay lines as joins, slices and states of the rows that stay."""
    lines = {s.write: s for s in graph.states if isinstance(graph.producers[s.write].op, Shift)}
    nodes: list[Node] = []
    tensors: list[Tensor] = []
    states = [state for state in graph.states if state.write not in lines]
    for node in graph.nodes:
        if node.outputs[0] not in lines:
            nodes.append(node)
            continue
        spelled, made, state = _spelled(graph, node, lines[node.outputs[0]])
        nodes += spelled
        tensors += made
        states += state
    return replace(graph, states=tuple(states)).with_nodes(nodes, tensors)


def _spelled(graph: Graph, node: Node, line: State) -> tuple[list[Node], list[Tensor], list[State]]:
    x, window = graph.operands(node).input(1), graph.operands(node).output
    kept = window.shape[_ROWS] - x.shape[_ROWS]
    if not kept:  # a view of the new rows, which is all there is
        return [replace(node, op=Concat(_ROWS), inputs=(x.name,))], [], []
    shape = (window.shape[0], kept, *window.shape[2:])
    names = [f"{line.read}/{part}" for part in ("kept", "last", "next")]
    tensors = [replace(window, name=name, shape=shape) for name in names]
    begin = (0, x.shape[_ROWS], *(0 for _ in window.shape[2:]))
    cut = StridedSlice(begin, window.shape, tuple(1 for _ in window.shape))
    nodes = [
        replace(node, op=Concat(_ROWS), inputs=(names[0], x.name)),
        Node(f"{node.name}/last", cut, node.outputs, (names[1],)),
        Node(f"{node.name}/keep", Assign(), (names[0], names[1]), (names[2],)),
    ]
    return nodes, tensors, [State(names[0], names[2], line.initial[:, x.shape[_ROWS] :])]


def resources(graph: Graph) -> list[State]:
    """Return the states that are resource variables, not variable tensors of an operator."""
    own = variables(graph)
    return [state for state in graph.states if state.read not in own]


def declare_states(draft: Draft, graph: Graph) -> None:
    """Write the handles, the call of the initialisation and the first reads of all states."""
    if not resources(graph):
        return
    draft.records.append(Record("CALL_ONCE", 1, (), (), _ONCE, {"InitSubgraphIndex": 1}))
    for state in resources(graph):
        handle = Handle(f"{state.read}/handle", state.read)
        draft.handles[state.write] = handle
        draft.records += [_handle(handle), _read(handle, state.read)]


def initialisation(graph: Graph) -> Iterator[Subgraph]:
    """Yield the subgraph that gives the states their initial values, if there are any."""
    if not resources(graph):
        return
    tensors: list[Tensor | Handle] = []
    records: list[Record] = []
    for state in resources(graph):
        handle = Handle(f"{state.read}/handle", state.read)
        quant = graph.tensors[state.read].quant
        value = constant(f"{state.read}/initial", state.initial, quant)
        tensors += [handle, value]
        records += [_handle(handle), _assign(handle, value.name)]
    yield Subgraph("initialisation", tensors, records, (), ())


def assign(layer: Layer) -> Record:
    """ASSIGN_VARIABLE; whoever reads the new value reads the variable."""
    layer.op(Assign)
    (after,) = layer.node.outputs
    handle = layer.draft.handles[after]
    record = _assign(handle, layer.node.inputs[1] or "")
    if after not in layer.draft.read:
        return record
    layer.draft.records.append(record)
    return _read(handle, after)


def shift(layer: Layer) -> Record:
    """Refuse a delay line that is no state: `spell_out_delay_lines` spells out the others."""
    raise layer.refuse("it updates what is no state")


def _handle(handle: Handle) -> Record:
    return Record("VAR_HANDLE", 1, (), (handle.name,), _HANDLE, {"SharedName": handle.variable})


def _read(handle: Handle, name: str) -> Record:
    return Record("READ_VARIABLE", 1, (handle.name,), (name,), "ReadVariableOptions")


def _assign(handle: Handle, value: str) -> Record:
    return Record("ASSIGN_VARIABLE", 1, (handle.name, value), (), "AssignVariableOptions")
