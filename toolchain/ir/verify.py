"""``verify``: is this graph legal? Run between passes; its message names node and edge."""

from __future__ import annotations

import math

from toolchain.errors import ModelError
from toolchain.ir.graph import Graph, Node
from toolchain.ir.tensor import Tensor

_MAX_ELEMENTS = 2**31 - 1


def verify(graph: Graph) -> Graph:
    """Check ``graph`` and return it unchanged.

    Checked: every name resolves, every tensor is made once and before it is read, the graph's
    outputs are made, states are updated, shapes are positive and sane, quantisation is finite, and
    every operator accepts its operands and infers the declared output shapes and types.

    Raises:
        ModelError: E205, with node and tensor.
    """
    for tensor in graph.tensors.values():
        _check_tensor(tensor)
    ready = {*graph.sources, *(n for n, t in graph.tensors.items() if t.is_constant)}
    names: set[str] = set()
    for node in graph.nodes:
        if node.name in names:
            raise _illegal(node, "two nodes carry this name")
        names.add(node.name)
        _check_edges(graph, node, ready)
        _check_types(graph, node)
        ready.update(node.outputs)
    for name in (*graph.sources, *graph.sinks):
        if name not in graph.tensors or name not in ready:
            raise ModelError("E205", f'graph input or output "{name}" is never made')
    _check_states(graph)
    return graph


def _check_states(graph: Graph) -> None:
    for state in graph.states:
        types = {
            (tensor.shape, tensor.dtype.numpy)
            for tensor in (graph.tensors[state.read], graph.tensors[state.write])
        }
        if types != {(state.initial.shape, state.initial.dtype)}:
            raise ModelError("E205", "a state changes its type", where=f'tensor "{state.read}"')
        updating = graph.producers.get(state.write)
        if updating is None or state.read not in updating.inputs:
            raise ModelError("E205", "a state is not updated", where=f'tensor "{state.read}"')


def _check_edges(graph: Graph, node: Node, ready: set[str]) -> None:
    for name in (*node.inputs, *node.outputs):
        if name is not None and name not in graph.tensors:
            raise _illegal(node, f'names an unknown tensor "{name}"')
    for name in node.inputs:
        if name is not None and name not in ready:
            raise _illegal(node, f'reads "{name}" before it is made')
    for name in node.outputs:
        if name in ready:
            raise _illegal(node, f'makes "{name}" a second time')


def _check_types(graph: Graph, node: Node) -> None:
    operands = graph.operands(node)
    inferred = node.op.infer(operands)
    declared = [(tensor.shape, tensor.dtype) for tensor in operands.outputs]
    if [tuple(t) for t in inferred] != declared:
        made = ", ".join(f"{dtype.value}{list(shape)}" for shape, dtype in inferred)
        said = ", ".join(f"{dtype.value}{list(shape)}" for shape, dtype in declared)
        raise _illegal(node, f"makes {made} but its outputs are declared {said}")


def _check_tensor(tensor: Tensor) -> None:
    where = f'tensor "{tensor.name}"'
    if any(size <= 0 for size in tensor.shape) or tensor.size > _MAX_ELEMENTS:
        raise ModelError("E205", f"shape {list(tensor.shape)} is not legal", where=where)
    quant = tensor.quant
    if quant is None:
        return
    slices = 1 if quant.axis is None else tensor.shape[quant.axis]
    if len(quant.scales) != slices or len(quant.zero_points) != slices:
        raise ModelError("E205", f"{slices} scales and zero points are needed", where=where)
    if not all(math.isfinite(scale) and scale > 0 for scale in quant.scales):
        raise ModelError("E205", "scales must be finite and positive", where=where)


def _illegal(node: Node, why: str) -> ModelError:
    return ModelError("E205", why, where=f'node "{node.name}" ({node.op.name})')
