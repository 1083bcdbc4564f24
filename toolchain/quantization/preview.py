"""What a float graph becomes when it is quantised, before there is data to do it with."""

from __future__ import annotations

import numpy as np

from toolchain.ir import Graph
from toolchain.quantization.activations import uncalibrated
from toolchain.quantization.calibrate import Statistics
from toolchain.quantization.grids import choose_grids
from toolchain.quantization.integer import quantize_graph
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
    seen = Statistics(-1.0, 1.0, np.zeros(1), np.zeros(1))
    grids = choose_grids(graph, dict.fromkeys(uncalibrated(graph), seen), minmax)
    return quantize_graph(graph, grids, {})
