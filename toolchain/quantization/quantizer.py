"""`quantize`: the whole way from a float graph to an int8 graph."""

from __future__ import annotations

from toolchain.errors import UsageError
from toolchain.ir import Graph
from toolchain.quantization.activations import activation_quants, uncalibrated
from toolchain.quantization.calibrate import Cases, calibrate
from toolchain.quantization.equalize import equalize as equalized
from toolchain.quantization.integer import quantize_graph
from toolchain.quantization.pools import global_pools_as_means
from toolchain.quantization.ranges import METHODS
from toolchain.quantization.reconstruct import reconstruct

ROUNDINGS = ("reconstruct", "nearest")


def quantize(
    graph: Graph,
    cases: Cases = (),
    method: str = "minmax",
    *,
    equalize: bool = True,
    rounding: str = "reconstruct",
    correct_bias: bool = True,
) -> Graph:
    """Return the int8 graph of a float graph.

    Weights are symmetric with a scale per output channel, activations asymmetric with one scale;
    biases are int32. Operators that only move values share one quantisation. The result computes
    with integers alone and runs in `toolchain.ir.run`; tensors keep their names, but for those
    between two equalised layers.

    Args:
        graph: a float graph; tensors that carry a quantisation keep it.
        cases: sample inputs, one float32 array per graph input each; needed unless every
            activation carries a quantisation.
        method: how ranges are chosen, a key of `METHODS`.
        equalize: bring the channels between two layers to like ranges
            (`toolchain.quantization.equalize`).
        rounding: of weights: ``"reconstruct"``, fitted layer by layer to the float outputs
            (`toolchain.quantization.reconstruct`), or ``"nearest"``.
        correct_bias: with nearest rounding: let biases make up for the mean error of the weights.

    Raises:
        UsageError: E115 for data that is missing or not finite, E114 for an unknown method or
            rounding.
        ModelError: E205, E206 if a node cannot be executed with the chosen scales.
    """
    _check("method", method, tuple(METHODS))
    _check("rounding", rounding, ROUNDINGS)
    graph = prepare(graph, cases, equalize=equalize)
    statistics = calibrate(graph, cases) if cases or uncalibrated(graph) else {}
    quants = activation_quants(graph, statistics, METHODS[method])
    if rounding == "reconstruct" and cases:
        graph = reconstruct(graph, cases, quants)
    return quantize_graph(graph, quants, statistics if correct_bias else {})


def prepare(graph: Graph, cases: Cases, *, equalize: bool = True) -> Graph:
    """Return the float graph that `quantize` rounds: of the same outputs, easier to round.

    All tensors of the int8 graph stand for those of this one.

    Args:
        graph: a float graph.
        cases: sample inputs.
        equalize: as in `quantize`.
    """
    graph = global_pools_as_means(graph)
    return equalized(graph, cases) if equalize and cases else graph


def _check(what: str, chosen: str, known: tuple[str, ...]) -> None:
    if chosen not in known:
        raise UsageError("E114", f"no such {what}: {chosen}", hints=[f"one of {', '.join(known)}"])
