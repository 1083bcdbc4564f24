"""STRIDED_SLICE: begins, ends and masks of a ``.tflite`` file, resolved to plain ranges."""

from __future__ import annotations

from toolchain.importers.tflite_layer import Layer
from toolchain.ops import Op, StridedSlice


def strided_slice(layer: Layer) -> Op:
    """Return the slice with non-negative begins; an end of -1 lies before the first element.

    Semantics: Python slices, with masks that stand for open ends and for indices that drop their
    axis (TensorFlow, ``tf.strided_slice``).
    """
    options, shape = layer.options, layer.input(0).shape
    exotic = options.EllipsisMask() or options.NewAxisMask() or options.Offset()
    layer.require(not exotic, "ellipsis, new axes and offsets in slices are not supported")
    given = list(zip(layer.numbers(1), layer.numbers(2), layer.numbers(3), strict=False))
    lengths = {len(layer.numbers(index)) for index in (1, 2, 3)}
    layer.require(lengths == {len(given)}, "begin, end and strides differ in length")
    layer.require(len(given) <= len(shape), "the slice has more axes than the input")
    begins, ends, strides, shrink = [], [], [], []
    for axis, size in enumerate(shape):
        begin, end, stride = given[axis] if axis < len(given) else (0, size, 1)
        layer.require(stride != 0, "a stride is 0")
        drops = bool(options.ShrinkAxisMask() >> axis & 1)
        open_begin = not drops and bool(options.BeginMask() >> axis & 1)
        open_end = not drops and bool(options.EndMask() >> axis & 1)
        if drops:
            layer.require(-size <= begin < size, f"index {begin} of an axis of size {size}")
            shrink.append(axis)
            begin, end, stride = begin % size, begin % size + 1, 1
        python = slice(None if open_begin else begin, None if open_end else end, stride)
        first, last, step = python.indices(size)
        begins.append(first)
        ends.append(last)
        strides.append(step)
    return StridedSlice(tuple(begins), tuple(ends), tuple(strides), tuple(shrink))
