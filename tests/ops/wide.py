"""Random graphs with int16 activations, made of those with int8: finer scales, other constants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tests.ops.harness import random_values, single
from toolchain.ir import DType, Graph, Quant, Tensor, constant

Maker = Callable[[np.random.Generator], Graph]

WEIGHTS, BIAS = "w", "b"  # as the makers of weighted operators call them
WEIGHTED = {"conv2d", "depthwise_conv2d", "fully_connected", "transpose_conv"}


def widened(make: Maker, rng: np.random.Generator, quant: Quant | None = None) -> Graph:
    """Return a graph of ``make`` with int16 activations and the same weights.

    Args:
        make: returns a random graph of one node with int8 activations.
        rng: the generator.
        quant: of the output, instead of its own with a finer scale.
    """
    graph = make(rng)
    (node,) = graph.nodes
    weighted = node.op.name in WEIGHTED
    inputs = [
        None if name is None else _wide(graph.tensors[name], rng, weighted=weighted)
        for name in node.inputs
    ]
    outputs = [_wide(graph.tensors[name], rng, weighted=False) for name in node.outputs]
    if quant is not None:
        outputs = [replace(y, quant=quant) for y in outputs]
    return single(node.op, inputs, outputs)


def _wide(tensor: Tensor, rng: np.random.Generator, *, weighted: bool) -> Tensor:
    if weighted and tensor.name == WEIGHTS:
        assert tensor.quant is not None
        symmetric = replace(tensor.quant, zero_points=(0,) * len(tensor.quant.scales))
        return replace(tensor, quant=symmetric)
    if weighted and tensor.name == BIAS:
        return constant(BIAS, tensor.values.astype(np.int64) * int(rng.integers(1, 300)))
    if tensor.dtype is not DType.INT8:
        return tensor
    quant = tensor.quant and Quant.per_tensor(tensor.scale / 256)
    wide = Tensor(tensor.name, tensor.shape, DType.INT16, quant)
    return constant(wide.name, random_values(wide, rng), quant) if tensor.is_constant else wide
