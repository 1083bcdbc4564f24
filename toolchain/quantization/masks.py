"""Masks of attention: as low as they must be, so that scores keep their resolution.

Files add minus infinity, or a number that stands for it, to the scores that a softmax shall not
count. An integer tensor that held such numbers had no levels left for the scores.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from toolchain.ir import Graph, Node, constant
from toolchain.ops import Add, Softmax
from toolchain.quantization.calibrate import Cases
from toolchain.reference import trace_float

_DEPTH = 10.0  # exp(-10) is less than a step of int16, and no step of any sum of int8


def bounded_masks(graph: Graph, cases: Cases) -> Graph:
    """Return a float graph where masks are as low as hides any score that was seen, not lower.

    A hidden score ends `_DEPTH` below the greatest that its row counts. Constants that are added
    before a softmax, but are higher than that, stay as they are.

    Args:
        graph: a float graph.
        cases: sample inputs; without any nothing changes.
    """
    masks = [found for node in graph.nodes if (found := _masked(graph, node))]
    least = dict.fromkeys(masks, 0.0)
    for case in cases if masks else ():
        values = trace_float(graph, case)
        for one in masks:
            counted = values[one.add.outputs[0]].max(axis=-1)
            reach = float(counted.min() - values[one.scores].max())
            least[one] = min(reach - _DEPTH / one.beta, least[one])
    changed, added = {}, []
    for one, lowest in least.items():
        mask = graph.tensors[one.mask].values
        if lowest < 0 and mask.min() < lowest:
            made = constant(f"{one.add.name}/bounded", np.maximum(mask, np.float32(lowest)))
            added.append(made)
            inputs = tuple(made.name if name == one.mask else name for name in one.add.inputs)
            changed[one.add.name] = replace(one.add, inputs=inputs)
    return graph.with_nodes((changed.get(n.name, n) for n in graph.nodes), added)


class _Masked(NamedTuple):
    """An addition of a constant before a softmax."""

    add: Node
    scores: str
    mask: str
    beta: float


def _masked(graph: Graph, node: Node) -> _Masked | None:
    """Return the addition before ``node``, if it is a softmax behind one."""
    if not isinstance(node.op, Softmax) or not node.op.beta > 0:
        return None
    add = graph.producers.get(node.inputs[0] or "")
    if add is None or add.op != Add() or not graph.read_once(add.outputs[0]):
        return None
    for scores, mask in (add.inputs, add.inputs[::-1]):
        tensor = graph.tensors[mask or ""]
        known = (tensor.is_constant, graph.tensors[scores or ""].is_constant)
        if known == (True, False) and tensor.quant is None:
            return _Masked(add, scores or "", mask or "", node.op.beta)
    return None
