"""Where accuracy goes: every tensor of the integer graph against the float graph."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from toolchain.ir import Array, DType, Graph, Tensor
from toolchain.ir import trace as trace_int8
from toolchain.quantization.calibrate import Cases
from toolchain.reference import trace_float


@dataclass(frozen=True)
class LayerError:
    """How far one tensor is from its float values.

    Attributes:
        tensor: its name.
        op: the operator that makes it; empty for a graph input.
        dtype: its type in the integer graph.
        sqnr_db: signal to quantisation noise, ``10 log10(sum(x^2) / sum((x - q)^2))``.
        cosine: of the angle between both, 1 where they agree.
    """

    tensor: str
    op: str
    dtype: DType
    sqnr_db: float
    cosine: float


def real_values(tensor: Tensor, values: Array) -> Array:
    """Return the real values that the integers of a tensor stand for."""
    if tensor.quant is None:
        return values
    return (values.astype(np.float64) - tensor.zero_point) * tensor.scale


def integer_case(graph: Graph, case: Sequence[Array]) -> list[Array]:
    """Return float inputs as the integers that an integer graph takes, rounded half to even."""
    found = []
    for tensor, values in zip(graph.input_tensors, case, strict=True):
        codes = np.rint(values.astype(np.float64) / tensor.scale) + tensor.zero_point
        found.append(np.clip(codes, *tensor.dtype.limits).astype(tensor.dtype.numpy))
    return found


def compare_layers(graph: Graph, quantised: Graph, cases: Cases) -> list[LayerError]:
    """Return the error of every tensor that both graphs make, in the order of execution.

    Args:
        graph: the float graph.
        quantised: the integer graph that was made from it, with the same inputs.
        cases: float inputs, at least one.
    """
    made = {name: node.op.name for node in graph.nodes for name in node.outputs}
    names = [*graph.inputs, *(name for node in graph.nodes for name in node.outputs)]
    kept = [n for n in names if n in quantised.tensors and graph.tensors[n].dtype is DType.FLOAT32]
    sums = {name: np.zeros(4) for name in kept}
    for case in cases:
        real = trace_float(graph, case)
        integer = trace_int8(quantised, integer_case(quantised, case))
        for name in kept:
            x = real[name].astype(np.float64).reshape(-1)
            q = real_values(quantised.tensors[name], integer[name]).reshape(-1)
            sums[name] += [x @ x, q @ q, x @ q, (x - q) @ (x - q)]
    return [
        LayerError(name, made.get(name, ""), quantised.tensors[name].dtype, *_figures(*sums[name]))
        for name in kept
    ]


def sqnr(signal: float, noise: float) -> float:
    """Return the signal to noise ratio in decibels, of energies."""
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf


def _figures(xx: float, qq: float, xq: float, noise: float) -> tuple[float, float]:
    norm = math.sqrt(xx * qq)
    return sqnr(xx, noise), xq / norm if norm else float(xx == qq)
