"""`quantize`: the whole way from a float graph to an integer graph."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from toolchain.errors import UsageError
from toolchain.ir import DType, Graph
from toolchain.quantization.activations import uncalibrated
from toolchain.quantization.calibrate import Cases, calibrate
from toolchain.quantization.equalize import equalize as equalized
from toolchain.quantization.grids import choose_grids
from toolchain.quantization.integer import quantize_graph
from toolchain.quantization.masks import bounded_masks
from toolchain.quantization.names import named_layers
from toolchain.quantization.pools import global_pools_as_means
from toolchain.quantization.ranges import METHODS, minmax
from toolchain.quantization.reconstruct import reconstruct
from toolchain.quantization.wide import Ready, every_activation, named_activations, widened

ACTIVATIONS = (DType.INT8.value, DType.INT16.value)
ROUNDINGS = ("reconstruct", "adaround", "nearest")


def quantize(
    graph: Graph,
    cases: Cases = (),
    method: str = "minmax",
    *,
    activations: str = "int8",
    int16: Collection[str] = (),
    int4: Collection[str] = (),
    equalize: bool = True,
    rounding: str = "reconstruct",
    correct_bias: bool = True,
) -> Graph:
    """Return the integer graph of a float graph.

    Weights are symmetric int8 or int4 with a scale per output channel. Activations are asymmetric
    int8 or int16 around zero, with one scale; biases are int32, or int64 beside int16. Operators
    that only move values share one quantisation. The result computes with integers alone and runs
    in `toolchain.ir.run`; tensors keep their names, but for those between two equalised layers.

    Args:
        graph: a float graph; tensors that carry a quantisation keep it.
        cases: sample inputs, one float32 array per graph input each; needed unless every
            activation carries a quantisation.
        method: how ranges of int8 are chosen, a key of `METHODS`; int16 holds twice what was seen.
        activations: ``"int8"`` or ``"int16"``, the type of all activations.
        int16: names of activations, or of layers for what they make, that get int16 beside int8
            elsewhere; ``*`` and ``?`` stand for any text. QUANTIZE nodes convert where both meet.
        int4: names of convolutions and fully connected layers that get 4-bit weights, likewise;
            those that compute in 16 bits keep int8.
        equalize: bring the channels between two layers to like ranges
            (`toolchain.quantization.equalize`).
        rounding: of weights: ``"reconstruct"``, fitted layer by layer to the float outputs
            (`toolchain.quantization.reconstruct`), ``"adaround"``, which learns on from there in
            PyTorch (`toolchain.quantization.adaround`), or ``"nearest"``.
        correct_bias: with nearest rounding: let biases make up for the mean error of the weights.

    Raises:
        UsageError: E115 for data that is missing or not finite, E114 for an unknown method,
            rounding, type or name.
        ModelError: E205, E206 if a node cannot be executed with the chosen scales, E213 for
            16 bits in a graph that is quantised to int8.
    """
    ready = prepare(
        graph, cases, activations=activations, int16=int16, int4=int4, equalize=equalize
    )
    return quantize_ready(ready, cases, method, rounding=rounding, correct_bias=correct_bias)


def prepare(
    graph: Graph,
    cases: Cases,
    *,
    activations: str = "int8",
    int16: Collection[str] = (),
    int4: Collection[str] = (),
    equalize: bool = True,
) -> Ready:
    """Return the float graph that `quantize` rounds: of the same outputs, easier to round.

    All tensors of the integer graph stand for those of this one. Arguments and errors are those of
    `quantize`.
    """
    _check("activations", activations, ACTIVATIONS)
    graph = bounded_masks(graph, cases)
    whole = activations == DType.INT16.value
    wide = every_activation(graph) if whole else named_activations(graph, int16)
    ready = widened(graph, wide) if wide else Ready(graph)
    ready = replace(ready, narrow=named_layers(graph, int4))
    ready = ready.renamed(global_pools_as_means(ready.graph))
    if equalize and cases:
        ready = ready.renamed(equalized(ready.graph, cases, ready.wide))
    return ready


def quantize_ready(
    ready: Ready,
    cases: Cases = (),
    method: str = "minmax",
    *,
    rounding: str = "reconstruct",
    correct_bias: bool = True,
) -> Graph:
    """Return the integer graph of what `prepare` made; see `quantize`."""
    _check("method", method, tuple(METHODS))
    _check("rounding", rounding, ROUNDINGS)
    graph = ready.graph
    measured = bool(cases) or uncalibrated(graph)
    histograms = METHODS[method] is not minmax
    statistics = calibrate(graph, cases, histograms=histograms) if measured else {}
    grids = choose_grids(graph, statistics, METHODS[method], ready.wide, ready.narrow)
    if rounding != "nearest" and cases:
        graph = reconstruct(graph, cases, grids, adaround=rounding == "adaround")
    return quantize_graph(graph, grids, statistics if correct_bias else {})


def _check(what: str, chosen: str, known: tuple[str, ...]) -> None:
    if chosen not in known:
        raise UsageError("E114", f"no such {what}: {chosen}", hints=[f"one of {', '.join(known)}"])
