"""Records of the operators that slide a kernel over a map, and of weighted sums."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import numpy as np

from toolchain.exporters.tflite_layer import Layer, fused
from toolchain.exporters.tflite_writer import Record
from toolchain.ir import Quant, Tensor, constant
from toolchain.ops import (
    AveragePool2D,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    MaxPool2D,
    TransposeConv,
)
from toolchain.ops.spatial import NO_PADS, Pads, Sliding, same_pads

_SAME, _VALID = 0, 1


class _Slid(Protocol):
    """An operator with strides and padding."""

    @property
    def stride(self) -> tuple[int, int]: ...

    @property
    def pads(self) -> Pads: ...


def conv2d(layer: Layer) -> Record:
    """CONV_2D, behind a PAD where the padding is neither "same" nor "valid"."""
    op = layer.op(Conv2D)
    x, padding = _padded(layer, op.sliding(layer.operands))
    fields = {**padding, **_strides(op), **_dilation(op.dilation), **fused(op.activation)}
    inputs = (x, _symmetric(layer), _bias(layer))
    return layer.record("CONV_2D", 3, "Conv2DOptions", fields, inputs)


def depthwise_conv2d(layer: Layer) -> Record:
    """DEPTHWISE_CONV_2D, behind a PAD where the padding is neither "same" nor "valid"."""
    op = layer.op(DepthwiseConv2D)
    x, padding = _padded(layer, op.sliding(layer.operands))
    multiplier = layer.operands.output.shape[3] // layer.operands.input(0).shape[3]
    fields = {
        **padding,
        **_strides(op),
        **_dilation(op.dilation),
        **fused(op.activation),
        "DepthMultiplier": multiplier,
    }
    inputs = (x, _symmetric(layer), _bias(layer))
    return layer.record("DEPTHWISE_CONV_2D", 3, "DepthwiseConv2DOptions", fields, inputs)


def fully_connected(layer: Layer) -> Record:
    """FULLY_CONNECTED."""
    op = layer.op(FullyConnected)
    fields = {**fused(op.activation), "KeepNumDims": op.keep_dims}
    inputs = (*layer.node.inputs[:2], _bias(layer))
    quant = layer.operands.input(1).quant
    version = 12 if quant is not None and quant.axis is not None else 5
    return layer.record("FULLY_CONNECTED", version, "FullyConnectedOptions", fields, inputs)


def average_pool2d(layer: Layer) -> Record:
    """AVERAGE_POOL_2D; padding does not count in the average, so no PAD can stand for it."""
    op = layer.op(AveragePool2D)
    padding = _implicit(layer.operands.input(0), op.sliding)
    if op.half_up:
        raise layer.refuse("only uint8 kernels round half up")
    if padding is None:
        raise layer.refuse(f"the padding {tuple(op.pads)} is neither SAME nor VALID")
    fields = {"Padding": padding, **_strides(op), **_filter(op.kernel), **fused(op.activation)}
    return layer.record("AVERAGE_POOL_2D", 2, "Pool2DOptions", fields)


def max_pool2d(layer: Layer) -> Record:
    """MAX_POOL_2D, behind a PADV2 with the least value where the padding is explicit."""
    op = layer.op(MaxPool2D)
    least = layer.operands.input(0).dtype.limits[0]
    x, padding = _padded(layer, op.sliding, least)
    fields = {**padding, **_strides(op), **_filter(op.kernel), **fused(op.activation)}
    return layer.record("MAX_POOL_2D", 2, "Pool2DOptions", fields, [x])


def _strides(op: _Slid) -> dict[str, int]:
    return {"StrideH": op.stride[0], "StrideW": op.stride[1]}


def _dilation(dilation: tuple[int, int]) -> dict[str, int]:
    return {"DilationHFactor": dilation[0], "DilationWFactor": dilation[1]}


def _filter(kernel: tuple[int, int]) -> dict[str, int]:
    return {"FilterHeight": kernel[0], "FilterWidth": kernel[1]}


def _implicit(x: Tensor, sliding: Sliding) -> int | None:
    """Return the format's padding that equals ``sliding.pads``, ``None`` if there is none."""
    if sliding.pads == NO_PADS:
        return _VALID
    size = (x.shape[1], x.shape[2])
    return _SAME if sliding.pads == same_pads(size, sliding.extent, sliding.stride) else None


def _padded(layer: Layer, sliding: Sliding, value: int | None = None) -> tuple[str, dict[str, int]]:
    """Return the input to slide over and its padding option; adds a PAD where needed.

    Args:
        layer: the node; its first input is a map.
        sliding: its geometry.
        value: what the padding holds; the input's zero point by default.
    """
    x = layer.operands.input(0)
    implicit = _implicit(x, sliding)
    if implicit is not None:
        return x.name, {"Padding": implicit}
    pads = sliding.pads
    amounts = ((0, 0), (pads.top, pads.bottom), (pads.left, pads.right), (0, 0))
    shape = tuple(size + sum(amount) for size, amount in zip(x.shape, amounts, strict=True))
    padded = layer.draft.add(replace(x, name=f"{layer.node.name}/padded", shape=shape, data=None))
    inputs = [x.name, layer.integers("pads", amounts)]
    if value is None:
        record = Record("PAD", 2, tuple(inputs), (padded,), "PadOptions")
    else:
        least = constant(f"{layer.node.name}/value", np.array([value], x.dtype.numpy), x.quant)
        inputs.append(layer.draft.add(least))
        record = Record("PADV2", 2, tuple(inputs), (padded,), "PadV2Options")
    layer.draft.records.append(record)
    return padded, {"Padding": _VALID}


def _symmetric(layer: Layer) -> str:
    """Return the weights, whose zero points must be 0: the runtimes' kernels ignore them."""
    weights = layer.operands.input(1)
    if weights.quant is not None and any(weights.quant.zero_points):
        raise layer.refuse("int8 weights must have zero point 0")
    return weights.name


def _bias(layer: Layer) -> str | None:
    """Return the bias with the scale ``s_x * s_w`` that runtimes demand of it."""
    x, weights, bias = (layer.operands.optional(index) for index in range(3))
    if bias is None or bias.quant is not None or x is None or weights is None:
        return None if bias is None else bias.name
    scales = weights.quant.scales if weights.quant else ()
    products = tuple(float(np.float32(x.scale * scale)) for scale in scales)
    axis = 0 if len(scales) > 1 else None
    return layer.draft.add(replace(bias, quant=Quant(products, (0,) * len(scales), axis)))


def transpose_conv(layer: Layer) -> Record:
    """TRANSPOSE_CONV; its padding follows from the output's shape."""
    op = layer.op(TransposeConv)
    x, weights = layer.operands.input(0), layer.operands.input(1)
    shape, (_, kernel_h, kernel_w, _) = layer.operands.output.shape, weights.shape
    near = same_pads((shape[1], shape[2]), (kernel_h, kernel_w), op.stride)
    here = (op.pads.top, op.pads.left)
    # Some runtimes check that a convolution of the output with this padding has the input's size.
    sized = all(-(-shape[i] // op.stride[i - 1]) == x.shape[i] for i in (1, 2))
    if here == (near.top, near.left) and (sized or here != (0, 0)):
        padding = _SAME
    elif here == (0, 0):
        padding = _VALID
    else:
        raise layer.refuse(f"the padding {tuple(op.pads)} is neither SAME nor VALID")
    inputs = (layer.integers("shape", shape), _symmetric(layer), x.name, _bias(layer))
    fields = {"Padding": padding, **_strides(op), **fused(op.activation)}
    return layer.record("TRANSPOSE_CONV", 4, "TransposeConvOptions", fields, inputs)
