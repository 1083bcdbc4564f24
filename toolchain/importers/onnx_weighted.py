"""ONNX operators with weights, and pools: channels first there, channels last here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from toolchain.importers.onnx_builder import OnnxNode, UnsupportedError
from toolchain.ir import Array
from toolchain.ops import (
    Add,
    AveragePool2D,
    BatchMatMul,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    MaxPool2D,
    Mean,
    Mul,
    Op,
    Pad,
    Reshape,
    TransposeConv,
)
from toolchain.ops.spatial import NO_PADS, Pads, Sliding, same_pads

Pair = tuple[int, int]


def _pair(values: list[int] | None, default: int = 1) -> Pair:
    """Return (height, width) of an attribute of one or two axes."""
    given = values or [default, default]
    if len(given) not in (1, 2):
        raise UnsupportedError(f"{len(given)} spatial axes")
    height, width = [default, *given] if len(given) == 1 else given
    return height, width


def _map(node: OnnxNode) -> str:
    """Return the input (N, C, H, W) or (N, C, W) as a map (N, H, W, C)."""
    shape, build = node.shape(), node.build
    last = build.channels_last(node.tensor(0))
    if len(shape) == 4:
        return last
    if len(shape) != 3:
        raise UnsupportedError(f"a map of rank {len(shape)}")
    return build.add(Reshape((shape[0], 1, shape[2], shape[1])), [last])


def _unmap(node: OnnxNode, name: str) -> list[str]:
    """Return a map (N, H, W, C) in the layout of the input."""
    build = node.build
    if len(node.shape()) == 3:
        batch, _, width, channels = build.tensors[name].shape
        name = build.add(Reshape((batch, width, channels)), [name])
    return [build.channels_first(name)]


def _pads(node: OnnxNode, sliding: Sliding) -> Pads:
    """Return the explicit padding; with ``ceil_mode`` also what completes the last window."""
    size: Any = node.shape()[2:] if len(node.shape()) == 4 else (1, node.shape()[2])
    auto = node.attributes.get("auto_pad", "NOTSET")
    if auto == "SAME_UPPER":
        return same_pads(size, sliding.extent, sliding.stride)
    if auto == "SAME_LOWER":
        near = same_pads(size, sliding.extent, sliding.stride)
        return Pads(near.bottom, near.top, near.right, near.left)
    if auto == "VALID":
        return NO_PADS
    given = node.integers("pads") or [0] * (2 * (len(node.shape()) - 2))
    top, left, bottom, right = given if len(given) == 4 else (0, given[0], 0, given[1])
    if min(top, left, bottom, right) < 0:
        raise UnsupportedError("negative padding")
    if node.attributes.get("ceil_mode"):
        sizes = (size[0] + top + bottom, size[1] + left + right)
        axes = zip(sizes, sliding.extent, sliding.stride, (top, left), size, strict=True)
        bottom, right = (p + _ceiling(*a) for p, a in zip((bottom, right), axes, strict=True))
    return Pads(top, bottom, left, right)


def _ceiling(padded: int, extent: int, stride: int, before: int, size: int) -> int:
    """Return what to add behind so that the last window, if it starts in the map, is whole."""
    steps = -(-(padded - extent) // stride)
    if steps * stride >= size + before:
        steps -= 1
    return max(0, steps * stride + extent - padded)


def conv(node: OnnxNode) -> list[str]:
    """Conv: one or two spatial axes, any groups."""
    build, weights = node.build, node.needed(1)
    kernel = _pair(list(weights.shape[2:]))
    sliding = Sliding(kernel, _pair(node.integers("strides")), _pair(node.integers("dilations")))
    pads = _pads(node, sliding)
    group, in_c = int(node.attributes.get("group", 1)), node.shape()[1]
    shaped = weights.reshape(*weights.shape[:2], *kernel)
    op: Op
    if group == in_c and group > 1 and weights.shape[1] == 1:
        op = DepthwiseConv2D(sliding.stride, sliding.dilation, pads)
        data, axis = shaped[:, 0].transpose(1, 2, 0)[None], 3
    else:
        if in_c != group * weights.shape[1]:
            raise node.error(f"{group} groups of {weights.shape[1]} channels, but x has {in_c}")
        op = Conv2D(sliding.stride, sliding.dilation, pads)
        data, axis = shaped.transpose(0, 2, 3, 1), 0
    inputs = [_map(node), build.constant(data, node.weight_quant(axis)), *_bias(node)]
    return _unmap(node, build.add(op, inputs))


def conv_transpose(node: OnnxNode) -> list[str]:
    """ConvTranspose: one or two spatial axes; groups and dilation are zeros among the weights."""
    build = node.build
    if node.attributes.get("output_shape"):
        raise UnsupportedError("with output_shape")
    weights = _dense(node, node.needed(1))
    kernel, stride = _pair(list(weights.shape[2:])), _pair(node.integers("strides"))
    if node.attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise UnsupportedError("with automatic padding")
    pads = _pads(node, Sliding(kernel, stride))
    more_h, more_w = _pair(node.integers("output_padding"), 0)
    op = TransposeConv(
        stride, pads._replace(bottom=pads.bottom - more_h, right=pads.right - more_w)
    )
    # Scales per channel are those of one group.
    quant = node.weight_quant(0) if weights.shape[1] == node.shape(1)[1] else None
    data = build.constant(weights.transpose(1, 2, 3, 0), quant)
    return _unmap(node, build.add(op, [_map(node), data, *_bias(node)]))


def _dense(node: OnnxNode, weights: Array) -> Array:
    """Return transposed weights (C, O, KH, KW) without groups and dilation."""
    group, dilation = int(node.attributes.get("group", 1)), _pair(node.integers("dilations"))
    in_c, each, (height, width) = *weights.shape[:2], _pair(list(weights.shape[2:]))
    if group < 1 or in_c % group or in_c != node.shape()[1]:
        raise node.error(f"{group} groups of {in_c} channels, but x has {node.shape()[1]}")
    extent = Sliding((height, width), dilation=dilation).extent
    dense = np.zeros((in_c, group, each, *extent), weights.dtype)
    shaped = weights.reshape(group, in_c // group, each, height, width)
    for index in range(group):
        rows = slice(index * in_c // group, (index + 1) * in_c // group)
        dense[rows, index, :, :: dilation[0], :: dilation[1]] = shaped[index]
    return dense.reshape(in_c, group * each, *extent)


def _bias(node: OnnxNode) -> list[str]:
    bias = node.known(2)
    return [] if bias is None else [node.build.constant(bias.reshape(-1))]


def pool(kind: type[MaxPool2D] | type[AveragePool2D]) -> Callable[[OnnxNode], list[str]]:
    """Return the reader of a pool."""

    def read(node: OnnxNode) -> list[str]:
        build = node.build
        if len(node.outputs) > 1:
            raise UnsupportedError("with indices as second output")
        if _pair(node.integers("dilations")) != (1, 1):
            raise UnsupportedError("with dilation")
        kernel = _pair(node.integers("kernel_shape"))
        sliding = Sliding(kernel, _pair(node.integers("strides")))
        pads, x = _pads(node, sliding), _map(node)
        if kind is AveragePool2D and node.attributes.get("count_include_pad") and any(pads):
            if node.attributes.get("ceil_mode"):
                raise UnsupportedError("count_include_pad with ceil_mode")
            before, after = (0, pads.top, pads.left, 0), (0, pads.bottom, pads.right, 0)
            x, pads = build.add(Pad(before, after), [x]), NO_PADS
        return _unmap(node, build.add(kind(kernel, sliding.stride, pads), [x]))

    return read


def global_average_pool(node: OnnxNode) -> list[str]:
    """GlobalAveragePool: the mean over all spatial axes."""
    axes = tuple(range(2, len(node.shape())))
    return [node.build.add(Mean(axes, keep_dims=True), [node.tensor(0)])]


def global_max_pool(node: OnnxNode) -> list[str]:
    """GlobalMaxPool: a window as large as the map."""
    x = _map(node)
    _, height, width, _ = node.build.tensors[x].shape
    return _unmap(node, node.build.add(MaxPool2D((height, width)), [x]))


def gemm(node: OnnxNode) -> list[str]:
    """Gemm with constant B and C: a fully connected layer; else a product and a sum."""
    build, extra = node.build, node.attributes
    if isinstance(node.value(1), str) or extra.get("transA"):
        return _computed_gemm(node)
    weights = node.needed(1)
    matrix = (weights if extra.get("transB") else weights.T) * np.float32(extra.get("alpha", 1.0))
    bias = node.known(2)
    _check_depth(node, matrix.shape[1])
    inputs = [node.tensor(0), build.constant(matrix, node.weight_quant(0))]
    if bias is not None:
        row = np.broadcast_to(
            bias.reshape(-1) * np.float32(extra.get("beta", 1.0)), matrix.shape[:1]
        )
        inputs.append(build.constant(row))
    return [build.add(FullyConnected(), inputs)]


def _check_depth(node: OnnxNode, depth: int) -> None:
    """Refuse a matrix that does not fit the rows of the first input."""
    shape = node.shape()
    if not shape or shape[-1] != depth:
        raise node.error(f"rows of {list(shape)} do not fit {depth} weights each")


def _computed_gemm(node: OnnxNode) -> list[str]:
    """Gemm of matrices that are computed: ``alpha * A B + beta * C``."""
    build, extra = node.build, node.attributes
    op = BatchMatMul(bool(extra.get("transA")), bool(extra.get("transB")))
    made = build.add(op, [node.tensor(0), node.tensor(1)])
    alpha, beta = float(extra.get("alpha", 1.0)), float(extra.get("beta", 1.0))
    if alpha != 1:
        made = build.add(Mul(), [made, build.constant(np.full((1, 1), alpha))])
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return [made]
    bias = node.value(2)
    if isinstance(bias, str) and beta != 1:
        raise UnsupportedError("with a factor of a computed C")
    bias = bias if isinstance(bias, str) else bias * np.float32(beta)
    return [build.add(Add(), build.broadcast([made, bias]))]


def matmul(node: OnnxNode) -> list[str]:
    """MatMul with a constant matrix on the right: a fully connected layer; else of matrices."""
    build, right = node.build, node.value(1)
    if isinstance(right, str) or right.ndim != 2 or not isinstance(node.value(0), str):
        if min(len(node.shape(0)), len(node.shape(1))) < 2:
            raise UnsupportedError("of a vector")
        return [build.add(BatchMatMul(), [node.tensor(0), node.tensor(1)])]
    matrix = node.needed(1)
    _check_depth(node, matrix.shape[0])
    inputs = [node.tensor(0), node.build.constant(matrix.T, node.weight_quant(0))]
    return [node.build.add(FullyConnected(keep_dims=len(node.shape()) != 2), inputs)]
