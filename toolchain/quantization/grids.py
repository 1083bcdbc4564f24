"""Which type and which quantisation the activations of a graph get.

Every activation has one type, int8 or int16, which the user chooses. A node computes in int16 if
one of its activations has that type; the others are converted on the way in or out. So an int16
activation is made and read without the rounding of int8 on either side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from toolchain.ir import Array, DType, Graph, Node, Quant
from toolchain.quantization.activations import activation_quants
from toolchain.quantization.calibrate import Statistics
from toolchain.quantization.precision import INT8, INT16, Precision
from toolchain.quantization.ranges import Observed, Range, minmax
from toolchain.quantization.saturation import told_apart
from toolchain.quantization.weights import Floats, least_scales
from toolchain.reference import fake_quantize


@dataclass(frozen=True, eq=False)
class Grids:
    """Types and quantisations.

    Attributes:
        quants: of every float activation, by type; int16 is there if an activation has it.
        wide: names of the activations in int16.
        narrow: names of the nodes that have 4-bit weights where they compute in int8.
    """

    quants: Mapping[DType, Mapping[str, Quant]]
    wide: frozenset[str] = frozenset()
    narrow: frozenset[str] = frozenset()

    def precision(self, name: str) -> Precision:
        """Return the precision of an activation."""
        return INT16 if name in self.wide else INT8

    def quant(self, name: str, precision: Precision | None = None) -> Quant:
        """Return the quantisation of an activation, in its own type or another."""
        return self.quants[(precision or self.precision(name)).activations][name]

    def computing(self, node: Node) -> Precision:
        """Return the precision that a node computes in, if its operator has it."""
        wide = any(name in self.wide for name in (*node.inputs, *node.outputs))
        return INT16 if wide else INT8

    def weights(self, node: Node) -> DType:
        """Return the type of the weights of a node."""
        narrow = node.name in self.narrow and self.computing(node) is INT8
        return DType.INT4 if narrow else DType.INT8

    def scale_tries(self, node: Node) -> int:
        """Return how many scales are tried for the weights of an output."""
        coarse = self.weights(node) is DType.INT4
        return (INT16 if coarse else self.computing(node)).scale_tries

    def least_scales(self, node: Node, bias: Floats) -> Floats:
        """Return the least scales of the weights of a node; see `weights.least_scales`."""
        precision = self.computing(node)
        x, y = (self.quant(name or "", precision) for name in (node.inputs[0], node.outputs[0]))
        return least_scales(bias, x, y, precision)

    def rounded(self, name: str, values: Array) -> Array:
        """Return values of a tensor rounded to its grid; those of other types as they are."""
        if values.dtype != np.float32 or name not in self.quants[DType.INT8]:
            return values
        return fake_quantize(values, self.quant(name), self.precision(name).activations)


def choose_grids(
    graph: Graph,
    statistics: Mapping[str, Statistics],
    choose: Callable[[Observed], Range],
    wide: frozenset[str] = frozenset(),
    narrow: frozenset[str] = frozenset(),
) -> Grids:
    """Return the grids of a float graph.

    Ranges of int16 hold twice what was seen: there clipping loses more than fine steps gain. An
    activation whose maker and readers all compute in int16 gets that type too. Ranges of int8 leave
    out what readers cannot tell apart (`toolchain.quantization.saturation`).

    Args:
        graph: a float graph.
        statistics: of every activation; may be empty where all carry a quantisation.
        choose: makes the ranges of int8.
        wide: names of the activations that are to have int16.
        narrow: names of the nodes that are to have 4-bit weights.
    """
    kept = told_apart(graph, statistics)
    quants = {DType.INT8: activation_quants(graph, statistics, choose, kept=kept)}
    if wide:
        quants[DType.INT16] = activation_quants(graph, statistics, minmax, INT16)
    known = frozenset(name for name in wide if name in quants[DType.INT8])
    return Grids(quants, known | _between(graph, Grids(quants, known)), narrow)


def _between(graph: Graph, grids: Grids) -> frozenset[str]:
    """Return what nodes in int16 hand to each other alone."""
    ports = {*graph.sources, *graph.sinks}
    return frozenset(
        name
        for name, maker in graph.producers.items()
        if name in grids.quants[DType.INT8] and name not in ports
        if all(grids.computing(node) is INT16 for node in (maker, *graph.consumers[name]))
    )
