"""Random layers with 4-bit weights, made of those with int8 weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tests.ops.harness import single
from toolchain.ir import DType, Graph, constant

Maker = Callable[[np.random.Generator], Graph]


def narrowed(make: Maker, rng: np.random.Generator) -> Graph:
    """Return a graph of ``make`` whose weights ``w`` have 4 bits, 16 times the scale, no zero."""
    graph = make(rng)
    (node,) = graph.nodes
    weights = graph.tensors["w"]
    assert weights.quant is not None
    scales = tuple(float(np.float32(16 * scale)) for scale in weights.quant.scales)
    quant = replace(weights.quant, scales=scales, zero_points=(0,) * len(scales))
    low, high = DType.INT4.limits
    data = rng.integers(low, high, weights.shape, dtype=np.int8, endpoint=True)
    tensors = {**graph.tensors, "w": constant("w", data, quant, DType.INT4)}
    inputs = [None if name is None else tensors[name] for name in node.inputs]
    return single(node.op, inputs, [tensors[name] for name in node.outputs])
