"""int16 activations, int8 weights: every operator that takes them, in C and in TFLite Micro."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.ops.harness import assert_c_equals_reference, random_values, single
from tests.ops.random_pool import random_pool
from tests.ops.test_add import random_add
from tests.ops.test_concat import random_concat
from tests.ops.test_conv2d import random_conv
from tests.ops.test_depthwise_conv2d import random_depthwise
from tests.ops.test_fully_connected import random_fully_connected
from tests.ops.test_leaky_relu import random_leaky_relu
from tests.ops.test_logistic import random_logistic
from tests.ops.test_maximum import random_maximum
from tests.ops.test_mean import random_mean
from tests.ops.test_minimum import random_minimum
from tests.ops.test_mul import random_mul
from tests.ops.test_pack import random_pack
from tests.ops.test_pad import random_pad
from tests.ops.test_relu import random_relu
from tests.ops.test_reshape import random_reshape
from tests.ops.test_resize_nearest import random_resize_nearest
from tests.ops.test_softmax import random_softmax
from tests.ops.test_split import random_split
from tests.ops.test_strided_slice import random_strided_slice
from tests.ops.test_sub import random_sub
from tests.ops.test_tanh import random_tanh
from tests.ops.test_transpose import random_transpose
from tests.ops.test_transpose_conv import random_transpose_conv
from tests.ops.test_unpack import random_unpack
from tests.ops.wide import Maker, widened
from tests.oracle.runtimes import Micro, RefusedError
from toolchain.errors import ModelError
from toolchain.exporters.tflite import export_tflite
from toolchain.ir import DType, Graph, Quant, constant, run
from toolchain.ops import AveragePool2D, MaxPool2D

ORACLE_CASES = 200
UNIT = Quant.per_tensor(2.0**-15)


def softmax_of_int8(rng: np.random.Generator) -> Graph:
    """Return a softmax from int8 to int16."""
    graph = random_softmax(rng)
    (x,), y = graph.input_tensors, graph.tensors["y"]
    finer = replace(y, dtype=DType.INT16, quant=Quant.per_tensor(2.0**-16, -(2**15)))
    return single(graph.nodes[0].op, [x], [finer])


def any_bias(make: Maker, rng: np.random.Generator) -> Graph:
    """Return a graph of ``make``, some with sums of 32 bits, some with sums of more."""
    graph = widened(make, rng)
    (node,) = graph.nodes
    reach, dtype = [(20, np.int32), (40, np.int64), (0, np.int64)][int(rng.integers(3))]
    if not reach or node.op.name not in ("conv2d", "fully_connected"):
        return graph
    x, weights = (graph.tensors[str(name)] for name in node.inputs[:2])
    y = graph.tensors[node.outputs[0]]
    bias = constant("b", rng.integers(-(2**reach), 2**reach, y.shape[-1:], dtype=dtype))
    return single(node.op, [x, weights, bias], [y])


def one_scale(make: Maker, rng: np.random.Generator) -> Graph:
    """Return a graph of ``make`` whose output is quantised like the input, as TFLite Micro asks."""
    graph = widened(make, rng)
    x, y = graph.input_tensors[0], graph.output_tensors[0]
    return single(graph.nodes[0].op, [x], [replace(y, quant=x.quant)])


def one_of(makers: Mapping[str, Maker], rng: np.random.Generator) -> Graph:
    """Return a graph of one of ``makers``."""
    return widened(list(makers.values())[int(rng.integers(len(makers)))], rng)


MOVES: dict[str, Maker] = {
    "concat": random_concat,
    "pack": random_pack,
    "pad": random_pad,
    "reshape": random_reshape,
    "resize_nearest": random_resize_nearest,
    "split": random_split,
    "strided_slice": random_strided_slice,
    "transpose": random_transpose,
    "unpack": random_unpack,
}
MAKERS: dict[str, Maker] = {
    "add": partial(widened, random_add),
    "average_pool2d": partial(widened, partial(random_pool, AveragePool2D)),
    "conv2d": partial(any_bias, random_conv),
    "depthwise_conv2d": partial(widened, random_depthwise),
    "fully_connected": partial(any_bias, random_fully_connected),
    "leaky_relu": partial(widened, random_leaky_relu),
    "logistic": partial(widened, random_logistic, quant=UNIT),
    "max_pool2d": partial(widened, partial(random_pool, MaxPool2D)),
    "maximum": partial(widened, random_maximum),
    "mean": partial(widened, random_mean),
    "minimum": partial(widened, random_minimum),
    "moves": partial(one_of, MOVES),
    "mul": partial(widened, random_mul),
    "relu": partial(one_scale, random_relu),
    "softmax": partial(widened, random_softmax, quant=UNIT),
    "softmax of int8": softmax_of_int8,
    "sub": partial(widened, random_sub),
    "tanh": partial(widened, random_tanh, quant=UNIT),
    "transpose_conv": partial(widened, random_transpose_conv),
}


@pytest.mark.parametrize("name", MAKERS)
def test_c_equals_reference(name: str, tmp_path: Path) -> None:
    assert_c_equals_reference(MAKERS[name], tmp_path)


@pytest.mark.parametrize("name", MAKERS)
def test_the_reference_equals_tflite_micro(name: str) -> None:
    compared = 0
    for seed in range(ORACLE_CASES):
        rng = np.random.default_rng(seed)
        graph = MAKERS[name](rng)
        inputs = [random_values(tensor, rng) for tensor in graph.input_tensors]
        try:
            expected = Micro(export_tflite(graph)).run(inputs, len(graph.outputs))
        except (ModelError, RefusedError):
            continue  # the format or the runtime knows only some of our cases
        compared += 1
        for want, got in zip(expected, run(graph, inputs), strict=True):
            message = f"seed {seed}: {graph.nodes}"
            np.testing.assert_array_equal(got.reshape(want.shape), want, err_msg=message)
    assert compared >= ORACLE_CASES // 4


def test_a_bias_of_32_bits_is_refused_where_tflite_micro_reads_64() -> None:
    graph = widened(random_depthwise, np.random.default_rng(1))
    (node,) = graph.nodes
    x, weights = (graph.tensors[str(name)] for name in node.inputs[:2])
    y = graph.tensors[node.outputs[0]]
    with pytest.raises(ModelError, match="bias must be int64"):
        single(node.op, [x, weights, constant("b", np.zeros(y.shape[-1], np.int32))], [y])
