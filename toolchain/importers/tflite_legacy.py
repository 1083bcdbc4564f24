"""Legacy uint8 networks as int8: every value and zero point less 128, the same real numbers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from toolchain.errors import ModelError
from toolchain.ir import DType, Graph, Node, Quant, Tensor
from toolchain.ops import Quantize

_OFFSET = 128


def signed(tensor: Tensor) -> Tensor:
    """Return a uint8 tensor as int8."""
    values = tensor.data
    if values is not None:
        values = np.asarray(values ^ _OFFSET).view(np.int8)
        values.flags.writeable = False
    return replace(tensor, dtype=DType.INT8, quant=_moved(tensor.quant, -_OFFSET), data=values)


def legacy_ports(graph: Graph, legacy: Collection[str]) -> Graph:
    """Give inputs and outputs that were uint8 their type back, through QUANTIZE nodes.

    Args:
        graph: a graph whose uint8 tensors became int8.
        legacy: names of those tensors.
    """
    ports = [name for name in (*graph.inputs, *graph.outputs) if name in legacy]
    if not ports or not graph.nodes:
        return graph
    outer = {name: _unsigned(graph.tensors[name]) for name in ports}
    return replace(
        graph,
        nodes=(
            *(_node(outer[name].name, name) for name in graph.inputs if name in outer),
            *graph.nodes,
            *(_node(name, outer[name].name) for name in graph.outputs if name in outer),
        ),
        tensors={**graph.tensors, **{tensor.name: tensor for tensor in outer.values()}},
        inputs=tuple(outer[name].name if name in outer else name for name in graph.inputs),
        outputs=tuple(outer[name].name if name in outer else name for name in graph.outputs),
    )


def _unsigned(tensor: Tensor) -> Tensor:
    if tensor.quant is None:
        raise ModelError("E206", "carries no quantisation", where=f'tensor "{tensor.name}"')
    quant = _moved(tensor.quant, _OFFSET)
    return replace(tensor, name=f"{tensor.name}:uint8", dtype=DType.UINT8, quant=quant)


def _node(source: str, target: str) -> Node:
    return Node(f"quantize {target}", Quantize(), (source,), (target,))


def _moved(quant: Quant | None, offset: int) -> Quant | None:
    if quant is None:
        return None
    return replace(quant, zero_points=tuple(point + offset for point in quant.zero_points))
