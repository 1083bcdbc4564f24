"""ONNX normalisation over channels or rows."""

from __future__ import annotations

import numpy as np

from toolchain.importers.onnx_builder import OnnxNode, UnsupportedError, elements
from toolchain.ir import Array
from toolchain.ops import Add, Conv2D, Exp, LayerNorm, Log, Mul, Reshape


def local_response(node: OnnxNode) -> list[str]:
    """LRN: ``x * exp(-beta * log(bias + alpha / size * sum of squares of near channels))``.

    The sum is a convolution of one pixel whose weights are a band around the diagonal.
    """
    shape, extra = node.shape(), node.attributes
    if len(shape) != 4:
        raise UnsupportedError(f"of rank {len(shape)}")
    size, beta = int(extra["size"]), float(extra.get("beta", 0.75))
    alpha, bias = float(extra.get("alpha", 1e-4)), float(extra.get("bias", 1.0))
    if bias <= 0 or alpha < 0 or size < 1:
        raise UnsupportedError("of sums that may be zero")
    distance = np.arange(shape[1])[None] - np.arange(shape[1])[:, None]
    band = (distance >= -((size - 1) // 2)) & (distance <= size // 2)
    build = node.build
    x = build.channels_last(node.tensor(0))
    squares = build.add(Mul(), [x, x])
    weights = build.constant((band * (alpha / size))[:, None, None, :])
    sums = build.add(Conv2D(), [squares, weights, build.constant(np.full(shape[1], bias))])
    exponent = build.constant(np.full((1, 1, 1, 1), -beta))
    scaled = build.add(Mul(), [build.add(Log(), [sums]), exponent])
    return [build.channels_first(build.add(Mul(), [x, build.add(Exp(), [scaled])]))]


def layer_norm(node: OnnxNode) -> list[str]:
    """LayerNormalization over all axes from ``axis`` on; neither mean nor deviation is returned."""
    if len(node.outputs) > 1:
        raise UnsupportedError("with mean or deviation as outputs")
    build, x, shape = node.build, node.tensor(0), node.shape()
    axis = node.axis(int(node.attributes.get("axis", -1)))
    rows = (*shape[:axis], elements(shape[axis:]))
    factors = [node.needed(1), node.known(2)]
    wide = [
        None if values is None else np.broadcast_to(values, shape[axis:]).reshape(-1)
        for values in factors
    ]
    given = [build.constant(values) for values in wide if values is not None]
    if rows != shape:
        x = build.add(Reshape(rows), [x])
    made = build.add(LayerNorm(float(node.attributes.get("epsilon", 1e-5))), [x, *given])
    return [made if rows == shape else build.add(Reshape(shape), [made])]


def group_norm(node: OnnxNode) -> list[str]:
    """GroupNormalization; its factors are per group before opset 21, per channel since."""
    return [_grouped(node, int(node.attributes["num_groups"]))]


def instance_norm(node: OnnxNode) -> list[str]:
    """InstanceNormalization: a group per channel."""
    return [_grouped(node, node.shape()[1])]


def _grouped(node: OnnxNode, groups: int) -> str:
    """Return layer normalisation of the channels' groups, then a factor and an offset each."""
    build, shape = node.build, node.shape()
    if len(shape) < 3 or groups < 1 or shape[1] % groups:
        raise node.error(f"{groups} groups of {list(shape)}")
    rows = (shape[0], groups, elements(shape[1:]) // groups)
    x = build.add(Reshape(rows), [node.tensor(0)])
    epsilon = float(node.attributes.get("epsilon", 1e-5))
    made = build.add(Reshape(shape), [build.add(LayerNorm(epsilon), [x])])
    for op, index in ((Mul(), 1), (Add(), 2)):
        values = node.known(index)
        if values is not None:
            each = build.constant(_per_channel(node, values, shape[1]))
            made = build.add(op, [made, each])
    return made


def _per_channel(node: OnnxNode, values: Array, channels: int) -> Array:
    """Return factors of groups or channels in the shape that broadcasts over maps."""
    if values.ndim != 1 or channels % len(values):
        raise node.error(f"{values.size} factors for {channels} channels")
    repeated = np.repeat(values, channels // len(values))
    return np.asarray(repeated.reshape(1, -1, *(1,) * (len(node.shape()) - 2)))
