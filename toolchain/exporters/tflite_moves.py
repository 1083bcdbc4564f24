"""Records of the operators that move, cut and join data."""

from __future__ import annotations

import numpy as np

from toolchain.exporters.tflite_layer import Layer, fused
from toolchain.exporters.tflite_writer import Record
from toolchain.ir import constant
from toolchain.ops import (
    Concat,
    Gather,
    Mean,
    Pack,
    Pad,
    ReduceMax,
    ReduceMin,
    Reshape,
    ResizeBilinear,
    ResizeNearest,
    Split,
    StridedSlice,
    Transpose,
    Unpack,
)
from toolchain.ops.reduction import Reduction


def gather(layer: Layer) -> Record:
    """GATHER; its second version takes int8, the third int16."""
    op = layer.op(Gather)
    inputs = (layer.node.inputs[0], layer.integers("indices", op.indices))
    return layer.record("GATHER", 3, "GatherOptions", {"Axis": op.axis}, inputs)


def mean(layer: Layer) -> Record:
    """MEAN."""
    return _reduced(layer, "MEAN", layer.op(Mean))


def reduce_max(layer: Layer) -> Record:
    """REDUCE_MAX."""
    return _reduced(layer, "REDUCE_MAX", layer.op(ReduceMax))


def reduce_min(layer: Layer) -> Record:
    """REDUCE_MIN."""
    return _reduced(layer, "REDUCE_MIN", layer.op(ReduceMin))


def _reduced(layer: Layer, code: str, op: Reduction) -> Record:
    inputs = (layer.node.inputs[0], layer.integers("axes", op.axes))
    return layer.record(code, 2, "ReducerOptions", {"KeepDims": op.keep_dims}, inputs)


def pad(layer: Layer) -> Record:
    """PAD, or PADV2 where the value is not the zero point."""
    op, x = layer.op(Pad), layer.operands.input(0)
    amounts = layer.integers("pads", tuple(zip(op.before, op.after, strict=True)))
    if op.value is None:
        return layer.record("PAD", 2, "PadOptions", inputs=(x.name, amounts))
    value = constant(f"{layer.node.name}/value", np.array([op.value], x.dtype.numpy), x.quant)
    inputs = (x.name, amounts, layer.draft.add(value))
    return layer.record("PADV2", 2, "PadV2Options", inputs=inputs)


def reshape(layer: Layer) -> Record:
    """RESHAPE."""
    inputs = (layer.node.inputs[0], layer.integers("shape", layer.op(Reshape).shape))
    return layer.record("RESHAPE", 1, "ReshapeOptions", inputs=inputs)


def transpose(layer: Layer) -> Record:
    """TRANSPOSE."""
    inputs = (layer.node.inputs[0], layer.integers("perm", layer.op(Transpose).perm))
    return layer.record("TRANSPOSE", 2, "TransposeOptions", inputs=inputs)


def concat(layer: Layer) -> Record:
    """CONCATENATION."""
    op = layer.op(Concat)
    fields = {"Axis": op.axis, **fused(op.activation)}
    return layer.record("CONCATENATION", 2, "ConcatenationOptions", fields)


def split(layer: Layer) -> Record:
    """SPLIT for equal parts, else SPLIT_V."""
    op, x = layer.op(Split), layer.node.inputs[0]
    axis, fields = layer.integers("axis", op.axis), {"NumSplits": len(op.sizes)}
    if len(set(op.sizes)) == 1:
        return layer.record("SPLIT", 2, "SplitOptions", fields, (axis, x))
    inputs = (x, layer.integers("sizes", op.sizes), axis)
    return layer.record("SPLIT_V", 2, "SplitVOptions", fields, inputs)


def pack(layer: Layer) -> Record:
    """PACK."""
    fields = {"Axis": layer.op(Pack).axis, "ValuesCount": len(layer.node.inputs)}
    return layer.record("PACK", 2, "PackOptions", fields)


def unpack(layer: Layer) -> Record:
    """UNPACK."""
    fields = {"Axis": layer.op(Unpack).axis, "Num": len(layer.node.outputs)}
    return layer.record("UNPACK", 2, "UnpackOptions", fields)


def strided_slice(layer: Layer) -> Record:
    """STRIDED_SLICE; an end before the first element is written as a mask."""
    op = layer.op(StridedSlice)
    ranges = list(zip(op.begin, op.end, op.strides, strict=True))
    for axis in op.shrink:  # runtimes take the begin alone, and only with a positive stride
        ranges[axis] = (op.begin[axis], op.begin[axis] + 1, 1)
    begin, end, strides = zip(*ranges, strict=True)
    names = [
        layer.integers(label, values)
        for label, values in (("begin", begin), ("end", end), ("strides", strides))
    ]
    fields = {
        "EndMask": sum(1 << axis for axis, last in enumerate(end) if last < 0),
        "ShrinkAxisMask": sum(1 << axis for axis in op.shrink),
    }
    inputs = (layer.node.inputs[0], *names)
    return layer.record("STRIDED_SLICE", 2, "StridedSliceOptions", fields, inputs)


def resize_nearest(layer: Layer) -> Record:
    """RESIZE_NEAREST_NEIGHBOR."""
    op = layer.op(ResizeNearest)
    return _resize(layer, op, "RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions")


def resize_bilinear(layer: Layer) -> Record:
    """RESIZE_BILINEAR."""
    op = layer.op(ResizeBilinear)
    if op.in_float:
        raise layer.refuse("only uint8 kernels interpolate in float32")
    return _resize(layer, op, "RESIZE_BILINEAR", "ResizeBilinearOptions")


def _resize(layer: Layer, op: ResizeNearest | ResizeBilinear, code: str, options: str) -> Record:
    inputs = (layer.node.inputs[0], layer.integers("size", op.size))
    fields = {"AlignCorners": op.align_corners, "HalfPixelCenters": op.half_pixel}
    return layer.record(code, 3, options, fields, inputs)
