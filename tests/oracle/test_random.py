"""Random graphs, written by the exporter, run by independent runtimes: the oracle of operators."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pytest

from tests.graphs import random_graph
from tests.ops.harness import random_values
from tests.oracle.legacy import export_legacy
from tests.oracle.runtimes import Micro, Reference, RefusedError
from tests.passes.clumsy import clumsy_graph, sliding_graph
from toolchain.errors import ModelError
from toolchain.exporters.tflite import export_tflite
from toolchain.importers.tflite import import_tflite
from toolchain.ir import Array, Graph, Node, Session, run

Make = Callable[[np.random.Generator], Graph]
CASES = 40
# Operators by the test module that makes random ones, and the runtimes that know them so:
# TFLite Micro takes stand-alone activations for clamps at one scale, TFLite does not.
OPERATORS = {
    "abs": (Micro, Reference),
    "add": (Micro, Reference),
    "arg_max": (Micro, Reference),
    "batch_matmul": (Micro, Reference),
    "concat": (Micro, Reference),
    "conv2d": (Micro, Reference),
    "depthwise_conv2d": (Micro, Reference),
    "fully_connected": (Micro, Reference),
    "gather": (Micro, Reference),
    "hard_swish": (Micro, Reference),
    "leaky_relu": (Micro, Reference),
    "log_softmax": (Micro, Reference),
    "logistic": (Micro, Reference),
    "maximum": (Micro, Reference),
    "mean": (Micro, Reference),
    "minimum": (Micro, Reference),
    "mul": (Micro, Reference),
    "pack": (Micro, Reference),
    "pad": (Micro, Reference),
    "prelu": (Micro, Reference),
    "reduce_max": (Micro, Reference),
    "reduce_min": (Reference,),
    "relu": (Reference,),
    "reshape": (Micro, Reference),
    "resize_bilinear": (Micro, Reference),
    "resize_nearest": (Micro, Reference),
    "softmax": (Micro, Reference),
    "split": (Micro, Reference),
    "strided_slice": (Micro, Reference),
    "sub": (Micro, Reference),
    "tanh": (Micro, Reference),
    "transpose": (Micro, Reference),
    "transpose_conv": (Micro,),
    "unpack": (Micro, Reference),
}
# Where TFLite itself is not TFLite Micro: it rounds fully connected layers of one weight scale once
# instead of twice, and looks logistic and tanh up in tables made in float32 (ties fall otherwise).
TOLERANCE = {
    ("fully_connected", Reference): 1,
    ("logistic", Reference): 1,
    ("tanh", Reference): 1,
}
LEGACY_TOLERANCE = {"fully_connected": 1}


def maker(operator: str) -> Make:
    """Return the function that makes random graphs of one operator for its own test."""
    module = importlib.import_module(f"tests.ops.test_{operator}")
    (make,) = (
        value
        for name, value in vars(module).items()
        if name.startswith("random_")
        and getattr(value, "__module__", "") == module.__name__
        and name != "random_range"
    )
    return make


@pytest.mark.parametrize(
    ("operator", "oracle"),
    [(name, oracle) for name, oracles in OPERATORS.items() for oracle in oracles],
)
def test_an_operator_equals_the_runtime(operator: str, oracle: type[Micro | Reference]) -> None:
    make, compared = maker(operator), 0
    for seed in range(CASES):
        rng = np.random.default_rng(seed)
        graph = make(rng)
        inputs = [random_values(tensor, rng) for tensor in graph.input_tensors]
        try:
            expected = oracle(export_tflite(graph)).run(inputs, len(graph.outputs))
        except (ModelError, RefusedError):
            continue  # the format or the runtime knows only some of our cases
        compared += 1
        for want, got in zip(expected, run(graph, inputs), strict=True):
            difference = np.abs(want.astype(np.float64) - got.astype(np.float64)).max(initial=0)
            assert difference <= TOLERANCE.get((operator, oracle), 0), f"seed {seed}: {graph.nodes}"
    assert compared >= CASES // 4


@pytest.mark.parametrize("make", [random_graph, clumsy_graph, sliding_graph])
def test_networks_equal_tflite_micro(make: Make) -> None:
    compared = 0
    for seed in range(2 * CASES):
        rng = np.random.default_rng(seed)
        graph = make(rng)
        try:
            oracle = Micro(export_tflite(graph))
        except RefusedError:
            continue  # RELU_N1_TO_1 is not among its kernels
        compared += 1
        session = Session(graph)
        for _ in range(4 if graph.states else 1):
            inputs = [random_values(tensor, rng) for tensor in graph.input_tensors]
            expected = oracle.run(inputs, len(graph.outputs))
            for want, got in zip(expected, session.run(inputs), strict=True):
                np.testing.assert_array_equal(got, want, err_msg=f"seed {seed}")
    assert compared >= CASES


def differences(graph: Graph, found: Mapping[str, Array]) -> Iterator[tuple[Node, int]]:
    """Yield for every node the largest difference on the runtime's own inputs.

    So no difference hides another. Tensors of legacy files are compared as int8.
    """
    for node in graph.nodes:
        if not found.keys() >= {n for n in (*node.inputs, *node.outputs) if n is not None}:
            continue  # between a legacy file's type and int8
        values = [None if name is None else signed(found[name]) for name in node.inputs]
        made = node.op.reference(graph.operands(node), values)
        for name, got in zip(node.outputs, made, strict=True):
            yield node, int(np.abs(signed(found[name]).astype(np.int64) - got).max())


def signed(values: Array) -> Array:
    return (values ^ 0x80).view(np.int8) if values.dtype == np.uint8 else values


def test_every_layer_of_networks_equals_the_reference_kernels() -> None:
    for seed in range(CASES):
        rng = np.random.default_rng(seed)
        graph = random_graph(rng)
        oracle = Reference(export_tflite(graph))
        oracle.run([random_values(tensor, rng) for tensor in graph.input_tensors], 1)
        for node, difference in differences(graph, oracle.trace()):
            assert difference <= TOLERANCE.get((node.op.name, Reference), 0), (seed, node)


@pytest.mark.filterwarnings("ignore::toolchain.importers.ModelWarning")
def test_every_layer_of_legacy_networks_equals_the_reference_kernels() -> None:
    for seed in range(2 * CASES):
        rng = np.random.default_rng(seed)
        data = export_legacy(random_graph(rng, per_channel=False))
        graph, oracle = import_tflite(data, "legacy"), Reference(data)
        oracle.run([random_values(tensor, rng) for tensor in graph.input_tensors], 1)
        for node, difference in differences(graph, oracle.trace()):
            assert difference <= LEGACY_TOLERANCE.get(node.op.name, 0), (seed, node)


def test_legacy_bilinear_resizing_equals_the_reference_kernel() -> None:
    for seed in range(5 * CASES):
        rng = np.random.default_rng(seed)
        data = export_legacy(maker("resize_bilinear")(rng))
        graph, oracle = import_tflite(data, "legacy"), Reference(data)
        inputs = [random_values(tensor, rng) for tensor in graph.input_tensors]
        np.testing.assert_array_equal(run(graph, inputs), oracle.run(inputs, 1), err_msg=str(seed))
