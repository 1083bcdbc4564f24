"""What a float graph becomes when it is quantised, before there is data to do it with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from toolchain.ir import Graph, Quant, Tensor
from toolchain.ops import DepthwiseConv2D
from toolchain.quantization.activations import uncalibrated
from toolchain.quantization.calibrate import Statistics
from toolchain.quantization.grids import choose_grids
from toolchain.quantization.integer import WEIGHTED, quantize_graph
from toolchain.quantization.ranges import minmax


def preview(graph: Graph) -> Graph:
    """Return the int8 graph of a float graph as if every value lay between -1 and 1.

    Its shapes, bytes and multiply-accumulates are those of the graph that data would give; its
    values mean nothing.

    Args:
        graph: a float graph.

    Raises:
        ModelError: E205, E206 if an operator cannot be executed with integers.
    """
    graph = graph.with_nodes(graph.nodes, _any_scales(graph))
    seen = Statistics(-1.0, 1.0, np.zeros(1), np.zeros(1))
    grids = choose_grids(graph, dict.fromkeys(uncalibrated(graph), seen), minmax)
    return quantize_graph(graph, grids, {})


def _any_scales(graph: Graph) -> Iterator[Tensor]:
    """Yield the weights with a scale per channel: to look for the best takes long for many."""
    for node in graph.nodes:
        weights = graph.operands(node).input(1) if isinstance(node.op, WEIGHTED) else None
        if weights is not None and weights.quant is None:
            axis = 3 if isinstance(node.op, DepthwiseConv2D) else 0
            count = weights.shape[axis]
            yield replace(weights, quant=Quant((1 / 127,) * count, (0,) * count, axis))
