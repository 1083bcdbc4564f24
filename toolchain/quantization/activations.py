"""Which quantisation every activation of a graph gets.

Tensors that an operator only moves share one quantisation; outputs of functions with fixed ranges
(softmax, logistic, tanh) have the one that their integer kernels make.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType

from toolchain.ir import DType, Graph, Node, Quant
from toolchain.ops import (
    AveragePool2D,
    Concat,
    Gather,
    Maximum,
    MaxPool2D,
    Minimum,
    Pack,
    Pad,
    ReduceMax,
    ReduceMin,
    Reshape,
    ResizeBilinear,
    ResizeNearest,
    Split,
    StridedSlice,
    Transpose,
    Unpack,
)
from toolchain.quantization.calibrate import Statistics
from toolchain.quantization.precision import INT8, Precision
from toolchain.quantization.ranges import Observed, Range

JOINS = (Concat, Maximum, Minimum, Pack)
MOVES = (
    AveragePool2D,
    Gather,
    MaxPool2D,
    Pad,
    ReduceMax,
    ReduceMin,
    Reshape,
    ResizeBilinear,
    ResizeNearest,
    Split,
    StridedSlice,
    Transpose,
    Unpack,
)
SHARED = (*JOINS, *MOVES)


def activation_quants(
    graph: Graph,
    statistics: Mapping[str, Statistics],
    choose: Callable[[Observed], Range],
    precision: Precision = INT8,
    kept: Mapping[str, Range] = MappingProxyType({}),
) -> dict[str, Quant]:
    """Return the quantisation of every float activation.

    Tensors that carry one keep it.

    Args:
        graph: a float graph.
        statistics: of every activation; may be empty where all carry a quantisation.
        choose: makes a range from what was observed.
        precision: of the activations.
        kept: outside of which values of an activation may be clipped.
    """
    groups = _Groups(graph, precision)
    chosen: dict[str, Quant] = {}
    for members in groups.members():
        quant = groups.preset(members)
        if quant is None:
            ranges = [_within(choose(statistics[name]), kept.get(name)) for name in members]
            joined = Range(min(r.low for r in ranges), max(r.high for r in ranges))
            quant = precision.quant_of(joined)
        chosen.update(dict.fromkeys(members, quant))
    return chosen


def _within(chosen: Range, kept: Range | None) -> Range:
    if kept is None:
        return chosen
    return Range(max(chosen.low, kept.low), min(chosen.high, kept.high))


def sharing(graph: Graph, names: Collection[str]) -> frozenset[str]:
    """Return ``names`` and the float activations that share a quantisation with one of them."""
    sets = [one for one in shared_sets(graph) if not set(names).isdisjoint(one)]
    return frozenset(name for one in sets for name in one)


def shared_sets(graph: Graph) -> list[list[str]]:
    """Return the float activations of a graph, in sets that share a quantisation."""
    return _Groups(graph, INT8).members()


def uncalibrated(graph: Graph) -> list[str]:
    """Return the float activations whose quantisation only data can tell."""
    groups = _Groups(graph, INT8)
    return [name for names in groups.members() if groups.preset(names) is None for name in names]


class _Groups:
    """Sets of tensors that share a quantisation, joined along the graph."""

    def __init__(self, graph: Graph, precision: Precision) -> None:
        self.graph, self.fixed = graph, precision.fixed
        self.parent: dict[str, str] = {
            name: name
            for name, tensor in graph.tensors.items()
            if tensor.dtype is DType.FLOAT32 and not tensor.is_constant
        }
        self.presets = {n: q for n in self.parent if (q := self._own(n)) is not None}
        for node in graph.nodes:
            if isinstance(node.op, SHARED):
                self._join_node(node)

    def members(self) -> list[list[str]]:
        """Return the sets."""
        found: dict[str, list[str]] = {}
        for name in self.parent:
            found.setdefault(self._root(name), []).append(name)
        return list(found.values())

    def preset(self, members: list[str]) -> Quant | None:
        """Return the quantisation that a set must have, if any."""
        return self.presets.get(self._root(members[0]))

    def _own(self, name: str) -> Quant | None:
        """Return the quantisation that a tensor must have by itself."""
        producer = self.graph.producers.get(name)
        fixed = self.fixed.get(type(producer.op)) if producer else None
        return fixed or self.graph.tensors[name].quant

    def _join_node(self, node: Node) -> None:
        joins = isinstance(node.op, JOINS)
        for name in node.inputs:
            for output in node.outputs:
                if name in self.parent and output in self.parent:
                    self._join(name, output, joins)

    def _join(self, first: str, second: str, many: bool) -> None:
        """Join two sets, unless they must differ or one would force its range on many others."""
        a, b = self._root(first), self._root(second)
        presets = {self.presets.get(a), self.presets.get(b)}
        if a == b or (len(presets) > 1 and (many or None not in presets)):
            return
        self.parent[a] = b
        quant = next((q for q in presets if q is not None), None)
        if quant is not None:
            self.presets[b] = quant

    def _root(self, name: str) -> str:
        while self.parent[name] != name:
            name = self.parent[name]
        return name
