"""Float ``.tflite`` files: read as real numbers, equal to TFLite's kernels, and quantisable."""

from __future__ import annotations

import numpy as np
import pytest

from tests.data import shared_data
from tests.formats.files import write
from tests.graphs import random_graph
from tests.oracle.runtimes import Reference
from tests.quantization.networks import inputs
from toolchain.errors import ModelError
from toolchain.exporters.tflite import export_tflite
from toolchain.exporters.tflite_writer import Record
from toolchain.importers import import_float
from toolchain.importers.tflite import import_float_tflite
from toolchain.ir import Array, DType, Graph, Tensor, constant
from toolchain.quantization import quantize
from toolchain.reference import run_float

MLPERF_TINY = ("ad01_fp32", "pretrainedResnet", "vww_96_float")


def real(name: str, *shape: int) -> Tensor:
    return Tensor(name, shape, DType.FLOAT32)


def assert_equals_tflite(data: bytes, graph: Graph, count: int = 3) -> None:
    oracle = Reference(data)
    for case in inputs(graph, count, 0):
        for got, want in zip(run_float(graph, case), oracle.run(case, 1), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


def float_file(seed: int) -> bytes:
    """Return a network of convolutions with "same" padding, a pool, a residual and a softmax."""
    rng = np.random.default_rng(seed)
    height, width, channels = (int(n) for n in rng.integers(3, 9, 3))
    stride, activation = int(rng.integers(1, 3)), int(rng.choice([0, 1, 3]))
    out_h, out_w = -(-height // stride), -(-width // stride)
    strides = {"StrideH": stride, "StrideW": stride, "FusedActivationFunction": activation}

    def weights(name: str, *shape: int) -> Tensor:
        return constant(name, rng.normal(0, 1 / np.sqrt(np.prod(shape[1:])), shape).astype("f4"))

    tensors = [
        real("x", 1, height, width, channels),
        weights("w1", 8, 3, 3, channels),
        weights("b1", 8),
        real("a", 1, out_h, out_w, 8),
        weights("w2", 1, 3, 2, 8),
        weights("b2", 8),
        real("d", 1, out_h, out_w, 8),
        real("s", 1, out_h, out_w, 8),
        real("m", 1, 8),
        constant("axes", np.array([1, 2], np.int32)),
        weights("w3", 5, 8),
        real("f", 1, 5),
        real("y", 1, 5),
    ]
    one = {"StrideH": 1, "StrideW": 1, "DepthMultiplier": 1}
    records = [
        Record("CONV_2D", 1, ("x", "w1", "b1"), ("a",), "Conv2DOptions", strides),
        Record("DEPTHWISE_CONV_2D", 1, ("a", "w2", "b2"), ("d",), "DepthwiseConv2DOptions", one),
        Record("ADD", 1, ("a", "d"), ("s",), "AddOptions"),
        Record("MEAN", 1, ("s", "axes"), ("m",), "ReducerOptions"),
        Record("FULLY_CONNECTED", 1, ("m", "w3"), ("f",), "FullyConnectedOptions"),
        Record("SOFTMAX", 1, ("f",), ("y",), "SoftmaxOptions", {"Beta": 1.0}),
    ]
    return write(tensors, records, ["x"], ["y"])


@pytest.mark.parametrize("seed", range(8))
def test_float_networks_compute_what_tflite_computes(seed: int) -> None:
    data = float_file(seed)
    assert_equals_tflite(data, import_float_tflite(data, "net"))


def fully_connected(weights: Tensor, *more: Tensor) -> bytes:
    layer = Record("FULLY_CONNECTED", 1, ("x", "w"), ("y",), "FullyConnectedOptions")
    before = [Record("DEQUANTIZE", 2, (weights.name,), ("w",), "DequantizeOptions")]
    records = [layer] if weights.name == "w" else [*before, layer]
    tensors = [real("x", 1, 8), weights, *more, real("y", 1, 4)]
    return write(tensors, records, ["x"], ["y"])


def test_float16_weights_become_float32() -> None:
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    import flatbuffers

    half = np.random.default_rng(0).normal(0, 1, (4, 8)).astype(np.float16)
    stored = constant("half", half.astype(np.float32))
    model = schema.ModelT.InitFromObj(
        schema.Model.GetRootAs(fully_connected(stored, real("w", 4, 8)), 0)
    )
    tensor = next(t for t in model.subgraphs[0].tensors if t.name == b"half")
    tensor.type = schema.TensorType.FLOAT16
    model.buffers[tensor.buffer].data = np.frombuffer(half.tobytes(), np.uint8)
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    data = bytes(builder.Output())
    graph = import_float_tflite(data, "net")
    assert [node.op.name for node in graph.nodes] == ["fully_connected"]
    assert_equals_tflite(data, graph)


def test_operators_that_only_compute_shapes_are_left_out() -> None:
    tensors = [
        real("x", 1, 2, 3),
        Tensor("shape", (3,), DType.INT32),
        real("y", 1, 6),
        real("unread", 1, 6),
    ]
    records = [
        Record("SHAPE", 1, ("x",), ("shape",)),
        Record("RESHAPE", 1, ("x", "shape"), ("y",)),
        Record("CUMSUM", 1, ("y",), ("unread",)),
    ]
    graph = import_float_tflite(write(tensors, records, ["x"], ["y"]), "net")
    assert [node.op.name for node in graph.nodes] == ["reshape"]


def test_integer_and_hybrid_files_are_refused_by_kind() -> None:
    with pytest.raises(ModelError, match="quantised already") as caught:
        import_float_tflite(export_tflite(random_graph(np.random.default_rng(0))), "net")
    assert caught.value.code == "E213"
    hybrid = Tensor("w", (4, 8), DType.INT8, None, np.ones((4, 8), np.int8))
    with pytest.raises(ModelError, match="hybrid model") as caught:
        import_float_tflite(fully_connected(hybrid), "net")
    assert caught.value.code == "E202"


@pytest.mark.parametrize("name", MLPERF_TINY)
def test_real_float_networks_equal_tflite_and_quantise(name: str) -> None:
    folder = shared_data()
    path = folder / "models" / "mlperf_tiny" / f"{name}.tflite" if folder else None
    if path is None or not path.is_file():
        pytest.skip("real models are not here")
    graph = import_float(path)
    assert_equals_tflite(path.read_bytes(), graph, 1)
    quantised = quantize(graph, inputs(graph, 2, 0))
    assert {x.dtype for x in activations(quantised)} == {DType.INT8}


def activations(graph: Graph) -> list[Tensor]:
    return [tensor for tensor in graph.tensors.values() if not tensor.is_constant]


def test_padding_with_other_values_is_refused() -> None:
    pads: Array = np.array([[0, 0], [1, 1]], np.int32)
    tensors = [
        real("x", 1, 4),
        constant("pads", pads),
        constant("value", np.array([-1.0], np.float32)),
        real("y", 1, 6),
    ]
    record = Record("PADV2", 1, ("x", "pads", "value"), ("y",))
    with pytest.raises(ModelError, match="padding with zeros"):
        import_float_tflite(write(tensors, [record], ["x"], ["y"]), "net")
