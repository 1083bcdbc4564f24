"""The spatial, weighted and moving operators against TFLite Micro, every byte."""

from __future__ import annotations

from functools import partial

from tests.ops.random_pool import random_pool
from tests.ops.test_concat import random_concat
from tests.ops.test_conv2d import random_conv
from tests.ops.test_depthwise_conv2d import random_depthwise
from tests.ops.test_fully_connected import random_fully_connected
from tests.ops.test_mean import random_mean
from tests.ops.test_pack import random_pack
from tests.ops.test_pad import random_pad
from tests.ops.test_reshape import random_reshape
from tests.ops.test_resize_bilinear import random_resize_bilinear
from tests.ops.test_resize_nearest import random_resize_nearest
from tests.ops.test_split import random_split
from tests.ops.test_strided_slice import random_strided_slice
from tests.ops.test_transpose import random_transpose
from tests.ops.test_transpose_conv import random_transpose_conv
from tests.ops.test_unpack import random_unpack
from tests.oracle.micro import assert_reference_equals_micro
from toolchain.ir import DType, Graph
from toolchain.ops import AveragePool2D, MaxPool2D, TransposeConv
from toolchain.ops.spatial import NO_PADS, Sliding, same_pads


def _weights_known(graph: Graph) -> bool:
    """Tell whether TFLite Micro takes the weights: none with a zero point, never without a bias."""
    weights = graph.tensors["w"].quant
    return weights is not None and not any(weights.zero_points) and "b" in graph.tensors


def _implicit_pads(graph: Graph) -> bool:
    op, x = graph.nodes[0].op, graph.input_tensors[0]
    assert isinstance(op, AveragePool2D)
    return op.pads in (NO_PADS, same_pads((x.shape[1], x.shape[2]), op.kernel, op.stride))


def _transposed_known(graph: Graph) -> bool:
    op, y = graph.nodes[0].op, graph.output_tensors[0]
    assert isinstance(op, TransposeConv)
    kernel = graph.tensors["w"].shape[1:3]
    before = same_pads((y.shape[1], y.shape[2]), Sliding((kernel[0], kernel[1])).extent, op.stride)
    pads = (op.pads.top, op.pads.left)
    return _weights_known(graph) and pads in ((0, 0), (before.top, before.left))


def _not_int32(graph: Graph) -> bool:
    return graph.input_tensors[0].dtype != DType.INT32


def test_conv2d() -> None:
    assert_reference_equals_micro(random_conv, _weights_known)


def test_depthwise_conv2d() -> None:
    assert_reference_equals_micro(random_depthwise, _weights_known)


def test_transpose_conv() -> None:
    assert_reference_equals_micro(random_transpose_conv, _transposed_known)


def test_fully_connected() -> None:
    assert_reference_equals_micro(random_fully_connected, _weights_known)


def test_average_pool2d() -> None:
    assert_reference_equals_micro(partial(random_pool, AveragePool2D), _implicit_pads)


def test_max_pool2d() -> None:
    assert_reference_equals_micro(partial(random_pool, MaxPool2D))


def test_mean() -> None:
    assert_reference_equals_micro(random_mean)


def test_pad() -> None:
    assert_reference_equals_micro(random_pad)


def test_reshape() -> None:
    assert_reference_equals_micro(random_reshape)


def test_concat() -> None:
    assert_reference_equals_micro(random_concat)


def test_transpose() -> None:
    assert_reference_equals_micro(random_transpose, _not_int32)


def test_split() -> None:
    assert_reference_equals_micro(random_split)


def test_pack() -> None:
    assert_reference_equals_micro(random_pack)


def test_unpack() -> None:
    assert_reference_equals_micro(random_unpack)


def test_strided_slice() -> None:
    assert_reference_equals_micro(
        random_strided_slice, lambda graph: len(graph.input_tensors[0].shape) <= 4
    )


def test_resize_nearest() -> None:
    assert_reference_equals_micro(random_resize_nearest, _not_int32)


def test_resize_bilinear() -> None:
    assert_reference_equals_micro(random_resize_bilinear)
