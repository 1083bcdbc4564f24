"""ONNX normalisation over channels."""

from __future__ import annotations

import numpy as np

from toolchain.importers.onnx_builder import OnnxNode, UnsupportedError
from toolchain.ops import Conv2D, Exp, Log, Mul


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
