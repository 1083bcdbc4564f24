"""`quantize`: the whole way from a float graph to an int8 graph."""

from __future__ import annotations

from toolchain.errors import UsageError
from toolchain.ir import Graph
from toolchain.quantization.activations import activation_quants, uncalibrated
from toolchain.quantization.calibrate import Cases, calibrate
from toolchain.quantization.integer import quantize_graph
from toolchain.quantization.ranges import METHODS


def quantize(graph: Graph, cases: Cases = (), method: str = "percentile") -> Graph:
    """Return the int8 graph of a float graph.

    Weights are symmetric with a scale per output channel, activations asymmetric with one scale;
    biases are int32, corrected for the mean error of the rounded weights. Operators that only move
    values share one quantisation. The result computes with integers alone and runs in
    `toolchain.ir.run`; tensors keep their names.

    Args:
        graph: a float graph; tensors that carry a quantisation keep it.
        cases: sample inputs, one float32 array per graph input each; needed unless every
            activation carries a quantisation.
        method: how ranges are chosen, a key of `METHODS`.

    Raises:
        UsageError: E115 for data that is missing or not finite, E114 for an unknown method.
        ModelError: E205, E206 if a node cannot be executed with the chosen scales.
    """
    if method not in METHODS:
        raise UsageError(
            "E114", f"no such method: {method}", hints=[f"one of {', '.join(METHODS)}"]
        )
    statistics = calibrate(graph, cases) if cases or uncalibrated(graph) else {}
    quants = activation_quants(graph, statistics, METHODS[method])
    return quantize_graph(graph, quants, statistics)
