"""What each activation alone costs when it is rounded, the rest of the network left in float."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from toolchain.evaluation.metrics import top_share
from toolchain.ir import Array, DType, Graph
from toolchain.reference import run_float

Cases = Sequence[Sequence[Array]]


@dataclass(frozen=True)
class LayerDrop:
    """The cost of one tensor's rounding.

    Attributes:
        tensor: its name.
        op: the operator that makes it; empty for a graph input.
        top1: share of right answers with this tensor rounded.
        drop: what is lost of the float network's share.
    """

    tensor: str
    op: str
    top1: float
    drop: float


def layer_drops(graph: Graph, quantised: Graph, cases: Cases, labels: Array) -> list[LayerDrop]:
    """Return the cost of every int8 activation, the dearest first.

    Args:
        graph: the float graph.
        quantised: the graph that was made from it.
        cases: float inputs.
        labels: classes, shape (N,).
    """
    whole = _top1(graph, cases, labels)
    made = {name: node.op.name for node in graph.nodes for name in node.outputs}
    found = []
    for name, tensor in graph.tensors.items():
        known = quantised.tensors.get(name)
        if tensor.is_constant or known is None or known.dtype is not DType.INT8:
            continue
        tensors = {**graph.tensors, name: replace(tensor, quant=known.quant)}
        top1 = _top1(replace(graph, tensors=tensors), cases, labels)
        found.append(LayerDrop(name, made.get(name, ""), top1, whole - top1))
    return sorted(found, key=lambda one: -one.drop)


def _top1(graph: Graph, cases: Cases, labels: Array) -> float:
    scores = np.stack([run_float(graph, case)[0].reshape(-1) for case in cases])
    return top_share(scores, labels)
