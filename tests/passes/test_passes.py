"""Every pass keeps every output byte, and does what it is for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from tests.graphs import Builder, random_graph
from tests.ops.harness import random_values
from tests.passes.clumsy import NCHW_TO_NHWC, NHWC_TO_NCHW, clumsy_graph, sliding_graph
from toolchain import ops
from toolchain.ir import DType, Graph, Quant, Session, run, verify
from toolchain.numerics import Activation
from toolchain.ops.spatial import Pads
from toolchain.passes import PIPELINE, channels_last_inputs, drop_float_edges, simplify

SEEDS = range(60)
Pass = Callable[[Graph], Graph]


def assert_same(before: Graph, after: Graph, seed: int) -> None:
    verify(after)
    assert [t.shape for t in after.input_tensors] == [t.shape for t in before.input_tensors]
    assert after.outputs == before.outputs
    rng = np.random.default_rng(seed)
    one, other = Session(before), Session(after)
    for _ in range(4 if before.states else 2):
        inputs = [random_values(tensor, rng) for tensor in before.input_tensors]
        for expected, got in zip(one.run(inputs), other.run(inputs), strict=True):
            np.testing.assert_array_equal(got, expected)


def operators(graph: Graph) -> Counter[str]:
    return Counter(node.op.name for node in graph.nodes)


@pytest.mark.parametrize("rewrite", dict.fromkeys(PIPELINE), ids=lambda p: p.__name__)
def test_a_pass_keeps_every_byte(rewrite: Pass) -> None:
    changed = 0
    for seed in SEEDS:
        make = clumsy_graph if seed % 4 else sliding_graph
        before = make(np.random.default_rng(seed))
        after = rewrite(before)
        changed += operators(before) != operators(after)
        assert_same(before, after, seed)
    assert changed > 0


@pytest.mark.parametrize("make", [clumsy_graph, random_graph, sliding_graph])
def test_the_pipeline_keeps_every_byte_and_is_stable(
    make: Callable[[np.random.Generator], Graph],
) -> None:
    for seed in SEEDS:
        before = make(np.random.default_rng(seed + 1000))
        after = simplify(before, check=True)
        assert len(after.nodes) <= len(before.nodes)
        assert_same(before, after, seed)


def builder() -> Builder:
    return Builder(np.random.default_rng(7))


def test_padding_goes_into_convolutions() -> None:
    b = builder()
    x = b.input((1, 8, 8, 3))
    padded = b.alike(ops.Pad((0, 1, 2, 0), (0, 3, 0, 0)), x)
    graph = simplify(b.graph(b.conv2d(padded, 4), b.conv2d(padded, 5)))
    assert operators(graph) == {"conv2d": 2}
    assert {node.op for node in graph.nodes} == {ops.Conv2D(pads=Pads(1, 3, 2, 0))}


def test_padding_stays_before_average_pools_and_other_values() -> None:
    b = builder()
    x = b.input((1, 8, 8, 3))
    edge = ((0, 1, 1, 0), (0, 1, 1, 0))
    average = b.alike(ops.AveragePool2D((2, 2)), b.alike(ops.Pad(*edge), x))
    largest = b.alike(ops.MaxPool2D((2, 2)), b.alike(ops.Pad(*edge, value=x.zero_point), x))
    conv = b.conv2d(b.alike(ops.Pad(*edge, value=x.zero_point + 1), x), 4)
    assert operators(simplify(b.graph(average, largest, conv)))["pad"] == 3


def test_padding_by_the_least_value_goes_into_a_maximum_pool() -> None:
    b = builder()
    padded = b.alike(ops.Pad((0, 1, 1, 0), (0, 0, 0, 0), -128), b.input((1, 8, 8, 3)))
    graph = simplify(b.graph(b.alike(ops.MaxPool2D((2, 2)), padded)))
    assert [node.op for node in graph.nodes] == [ops.MaxPool2D((2, 2), pads=Pads(1, 0, 1, 0))]


def test_an_activation_is_fused_only_at_one_quantisation() -> None:
    b = builder()
    x = b.input((1, 4, 4, 3))
    fused = b.alike(ops.Relu(Activation.RELU6), b.conv2d(x, 4))
    rescaled = b.rescaled(ops.Relu(Activation.RELU6), b.conv2d(x, 4))
    graph = simplify(b.graph(fused, rescaled))
    assert operators(graph) == {"conv2d": 2, "relu": 1}


def test_transposes_around_elementwise_work_vanish() -> None:
    b = builder()
    x = b.input((1, 5, 6, 7))
    y = b.alike(ops.Transpose(NHWC_TO_NCHW), x)
    y = b.rescaled(ops.Mul(), y, b.constant((1, 7, 1, 1)))
    y = b.rescaled(ops.Add(), y, b.alike(ops.Transpose(NHWC_TO_NCHW), x))
    graph = simplify(b.graph(b.alike(ops.Transpose(NCHW_TO_NHWC), y)))
    assert operators(graph) == {"mul": 1, "add": 1}


def test_a_transpose_before_means_vanishes_and_each_mean_stays() -> None:
    b = builder()
    y = b.alike(ops.Transpose(NHWC_TO_NCHW), b.input((1, 5, 6, 7)))
    graph = simplify(b.graph(b.rescaled(ops.Mean((2,)), b.rescaled(ops.Mean((3,)), y))))
    assert [node.op for node in graph.nodes] == [ops.Mean((2,)), ops.Mean((1,))]


def test_a_transpose_goes_into_the_weights_behind_it() -> None:
    b = builder()
    x = b.input((2, 5, 6, 7))
    y = b.alike(ops.Transpose(NHWC_TO_NCHW), x)
    before = b.graph(b.fully_connected(b.alike(ops.Reshape((2, 210)), y), 4))
    after = simplify(before)
    assert operators(after) == {"fully_connected": 1}
    assert after.weight_bytes == before.weight_bytes
    assert_same(before, after, 0)


def test_a_transpose_of_long_axes_at_an_output_stays() -> None:
    b = builder()
    y = b.alike(ops.Transpose(NHWC_TO_NCHW), b.input((1, 5, 6, 7)))
    assert operators(simplify(b.graph(y))) == {"transpose": 1}


def test_the_outputs_keep_their_names_where_an_identity_made_them() -> None:
    b = builder()
    x = b.conv2d(b.input((1, 4, 4, 2)), 3)
    y = b.alike(ops.Reshape(x.shape), x)
    graph = simplify(b.graph(y))
    assert graph.outputs == (y.name,)
    assert operators(graph) == {"conv2d": 1}


def test_an_identity_between_input_and_output_stays() -> None:
    b = builder()
    x = b.input((1, 4))
    graph = simplify(b.graph(b.alike(ops.Reshape((1, 4)), x)))
    assert operators(graph) == {"reshape": 1}


def test_a_reshape_that_claims_another_quantisation_stays() -> None:
    b = builder()
    x = b.conv2d(b.input((1, 8, 8, 2)), 3)
    (y,) = b.apply(ops.Reshape(x.shape), [x], b.quant(x.scale * 2))
    assert operators(simplify(b.graph(b.conv2d(y, 2))))["reshape"] == 1


def test_fully_connected_layers_read_maps_unless_others_read_the_view() -> None:
    b = builder()
    x = b.conv2d(b.input((1, 8, 8, 2)), 3)
    flat = b.alike(ops.Reshape((1, x.size)), x)
    before = b.graph(b.fully_connected(flat, 4), b.fully_connected(flat, 5))
    after = simplify(before)
    assert operators(after) == {"conv2d": 1, "fully_connected": 2}
    assert_same(before, after, 0)
    both = b.graph(b.fully_connected(flat, 4), b.alike(ops.Relu(Activation.RELU), flat))
    assert operators(simplify(both))["reshape"] == 1


def test_a_large_resize_of_a_constant_is_not_folded() -> None:
    b = builder()
    x = b.input((1, 64, 64, 3))
    small = b.constant((1, 1, 1, 3))
    graph = simplify(b.graph(b.rescaled(ops.Add(), x, b.alike(ops.ResizeNearest((64, 64)), small))))
    assert operators(graph)["resize_nearest"] == 1


def test_float_edges_go_on_request() -> None:
    b = builder()
    (x,) = b.apply(ops.Quantize(), [b.input((1, 4, 4, 2), DType.FLOAT32)], Quant.per_tensor(0.1, 3))
    y = b.conv2d(x, 3)
    (real,) = b.apply(ops.Dequantize(), [y], None, DType.FLOAT32)
    before = b.graph(real)
    after = verify(drop_float_edges(before))
    assert operators(after) == {"conv2d": 1}
    values = random_values(before.input_tensors[0], np.random.default_rng(0))
    (quantised,) = ops.Quantize().reference(before.operands(before.nodes[0]), [values])
    (got,) = run(after, [quantised])
    (expected,) = run(before, [values])
    (again,) = ops.Dequantize().reference(before.operands(before.nodes[-1]), [got])
    np.testing.assert_array_equal(again, expected)


def test_inputs_become_channels_last_on_request() -> None:
    b = builder()
    x = b.input((1, 3, 8, 9))
    before = b.graph(b.conv2d(b.alike(ops.Transpose(NCHW_TO_NHWC), x), 4))
    after = verify(channels_last_inputs(before))
    assert operators(after) == {"conv2d": 1}
    values = random_values(x, np.random.default_rng(0))
    (got,), (expected,) = run(after, [values.transpose(NCHW_TO_NHWC)]), run(before, [values])
    np.testing.assert_array_equal(got, expected)


def test_an_input_takes_the_shape_of_the_map_that_is_made_of_it() -> None:
    b = builder()
    x = b.input((1, 72))
    before = b.graph(b.conv2d(b.alike(ops.Reshape((1, 8, 9, 1)), x), 4))
    after = verify(channels_last_inputs(before))
    assert operators(after) == {"conv2d": 1}
    assert after.input_tensors[0].shape == (1, 8, 9, 1)
    values = random_values(x, np.random.default_rng(0))
    (got,), (expected,) = run(after, [values.reshape(1, 8, 9, 1)]), run(before, [values])
    np.testing.assert_array_equal(got, expected)


def test_an_input_that_is_read_in_two_shapes_keeps_its_own() -> None:
    b = builder()
    x = b.input((1, 72))
    y = b.conv2d(b.alike(ops.Reshape((1, 8, 9, 1)), x), 4)
    before = b.graph(y, b.alike(ops.Relu(), x))
    assert channels_last_inputs(before) is before
