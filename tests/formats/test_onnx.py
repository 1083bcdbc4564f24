from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data import shared_data
from tests.formats.onnx_graphs import helper, model, onnx, truth
from toolchain.errors import ModelError
from toolchain.importers.onnx import import_onnx
from toolchain.ir import Array, Graph
from toolchain.ops import HardSwish, Mean, Transpose
from toolchain.reference import run_float

node = helper.make_node
Rng = np.random.Generator


def assert_equals_onnxruntime(data: bytes, seed: int = 0) -> Graph:
    graph = import_onnx(data, "net")
    rng = np.random.default_rng(seed)
    inputs = [rng.normal(0, 2, x.shape).astype(np.float32) for x in graph.input_tensors]
    for got, want in zip(run_float(graph, inputs), truth(data, inputs), strict=True):
        assert got.shape == want.shape
        # Of values that the file rounds, some on the edge may fall to the other side.
        allowed = 0.01 if any(t.quant for t in graph.tensors.values()) else 0
        assert np.mean(~np.isclose(got, want, rtol=1e-4, atol=1e-4)) <= allowed
    return graph


def weights(rng: Rng, *shape: int) -> Array:
    return rng.normal(0, 0.5, shape).astype(np.float32)


def random_conv(rng: Rng) -> bytes:
    groups = int(rng.choice([1, 1, 2, 4]))
    in_c, out_c = 4, groups * int(rng.integers(1, 4))
    kernel = [int(k) for k in rng.integers(1, 4, 2)]
    convolution = node(
        "Conv",
        ["x", "w", "b"],
        ["y"],
        group=groups,
        strides=[int(s) for s in rng.integers(1, 3, 2)],
        dilations=[int(d) for d in rng.integers(1, 3, 2)],
        pads=[int(p) for p in rng.integers(0, 3, 4)],
    )
    constants = {"w": weights(rng, out_c, in_c // groups, *kernel), "b": weights(rng, out_c)}
    return model([convolution], {"x": [1, in_c, 9, 8]}, constants)


def random_conv_transpose(rng: Rng) -> bytes:
    axes, group = int(rng.choice([1, 2, 2])), int(rng.choice([1, 1, 3]))
    stride = [int(s) for s in rng.integers(1, 4, axes)]
    layer = node(
        "ConvTranspose",
        ["x", "w"],
        ["y"],
        strides=stride,
        group=group,
        dilations=[int(d) for d in rng.integers(1, 3, axes)],
        pads=[int(p) for p in rng.integers(0, 2, 2 * axes)],
        output_padding=[int(rng.integers(0, s)) for s in stride],
    )
    kernel, size = [3, 2][:axes], [4, 5][:axes]
    return model([layer], {"x": [1, 3, *size]}, {"w": weights(rng, 3, 2, *kernel)})


def random_pool(rng: Rng) -> bytes:
    kind = str(rng.choice(["MaxPool", "AveragePool"]))
    options: dict[str, Any] = {
        "kernel_shape": [int(k) for k in rng.integers(2, 4, 2)],
        "strides": [int(s) for s in rng.integers(1, 4, 2)],
        "pads": [int(p) for p in rng.integers(0, 2, 4)],
    }
    if kind == "AveragePool" and rng.random() < 0.5:
        options["count_include_pad"] = 1
    elif kind == "MaxPool":
        options["ceil_mode"] = int(rng.integers(0, 2))
    return model([node(kind, ["x"], ["y"], **options)], {"x": [1, 3, 8, 9]})


def random_resize(rng: Rng) -> bytes:
    factor = int(rng.integers(1, 4))
    mode = str(rng.choice(["nearest", "linear"]))
    options = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    if mode == "linear":
        options = {"coordinate_transformation_mode": str(rng.choice(["half_pixel", "asymmetric"]))}
    scales = np.array([1, 1, factor, factor], np.float32)
    layer = node("Resize", ["x", "", "scales"], ["y"], mode=mode, **options)
    return model([layer], {"x": [1, 3, 4, 5]}, {"scales": scales})


def random_elementwise(rng: Rng) -> bytes:
    kinds = ("Relu", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid", "LeakyRelu", "Neg")
    kind = str(rng.choice(kinds))
    binary = str(rng.choice(["Add", "Sub", "Mul", "Div", "Max", "Min"]))
    shape = [(1,), (3, 1, 1), (1, 3, 5, 1)][int(rng.integers(0, 3))]
    constants = {"c": np.abs(weights(rng, *shape)) + np.float32(0.5)}
    nodes = [node(kind, ["x"], ["h"]), node(binary, ["h", "c"], ["y"])]
    return model(nodes, {"x": [1, 3, 5, 4]}, constants)


def random_move(rng: Rng) -> bytes:
    nodes = [
        node("Slice", ["x", "starts", "ends", "axes", "steps"], ["a"]),
        node("Transpose", ["a"], ["b"], perm=[int(p) for p in rng.permutation(4)]),
        node("Concat", ["b", "b"], ["c"], axis=int(rng.integers(-4, 4))),
        node("Pad", ["c", "pads"], ["d"]),
        node("Softmax", ["d"], ["e"], axis=int(rng.integers(-4, 4))),
        node("Flatten", ["e"], ["y"], axis=int(rng.integers(0, 5))),
    ]
    constants = {
        "starts": np.array([-1, 0]),
        "ends": np.array([0, 5]),
        "axes": np.array([1, -1]),
        "steps": np.array([-1, int(rng.integers(1, 3))]),
        "pads": rng.integers(0, 2, 8),
    }
    return model(nodes, {"x": [1, 3, 4, 6]}, constants)


GENERATORS = [
    random_conv,
    random_conv_transpose,
    random_pool,
    random_resize,
    random_elementwise,
    random_move,
]


@pytest.mark.parametrize("generate", GENERATORS, ids=lambda g: g.__name__)
def test_random_operators_equal_onnxruntime(generate: Callable[[Rng], bytes]) -> None:
    for seed in range(40):
        assert_equals_onnxruntime(generate(np.random.default_rng(seed)), seed)


def small_cnn(rng: Rng) -> bytes:
    """Return convolution, batch normalisation, ReLU6, residual, pool, the usual tangle, Gemm."""
    constants = {
        "w1": weights(rng, 8, 3, 3, 3),
        "gamma": weights(rng, 8),
        "beta": weights(rng, 8),
        "mean": weights(rng, 8),
        "variance": np.abs(weights(rng, 8)) + np.float32(0.1),
        "low": np.float32(0),
        "high": np.float32(6),
        "w2": weights(rng, 8, 1, 3, 3),
        "zero": np.array(0),
        "front": np.array([0]),
        "rest": np.array([-1]),
        "w3": weights(rng, 8, 5),
        "b3": weights(rng, 5),
    }
    nodes = [
        node("Conv", ["x", "w1"], ["a"], pads=[1, 1, 1, 1], strides=[2, 2]),
        node("BatchNormalization", ["a", "gamma", "beta", "mean", "variance"], ["b"]),
        node("Clip", ["b", "low", "high"], ["c"]),
        node("Conv", ["c", "w2"], ["d"], pads=[1, 1, 1, 1], group=8),
        node("Add", ["c", "d"], ["e"]),
        node("GlobalAveragePool", ["e"], ["f"]),
        node("Shape", ["f"], ["s"]),
        node("Gather", ["s", "zero"], ["n"]),
        node("Unsqueeze", ["n", "front"], ["n1"]),
        node("Concat", ["n1", "rest"], ["to"], axis=0),
        node("Reshape", ["f", "to"], ["g"]),
        node("MatMul", ["g", "w3"], ["h"]),
        node("Add", ["h", "b3"], ["y"]),
    ]
    return model(nodes, {"x": ["N", 3, 12, 10]}, constants)


def test_a_cnn_keeps_one_transpose_and_folds_the_rest() -> None:
    graph = assert_equals_onnxruntime(small_cnn(np.random.default_rng(3)))
    names = [one.op.name for one in graph.nodes]
    kept = [name for name in names if name != "reshape"]
    assert kept == ["transpose", "conv2d", "depthwise_conv2d", "add", "mean", "fully_connected"]


def test_gate_times_input_is_hard_swish() -> None:
    nodes = [
        node("HardSigmoid", ["x"], ["g"], alpha=1 / 6, beta=0.5),
        node("Mul", ["x", "g"], ["y"]),
    ]
    graph = assert_equals_onnxruntime(model(nodes, {"x": [1, 4]}))
    assert [type(one.op) for one in graph.nodes] == [HardSwish]


def test_mean_over_the_map_needs_no_transpose() -> None:
    nodes = [
        node("Conv", ["x", "w"], ["a"]),
        node("ReduceMean", ["a"], ["y"], axes=[2, 3], keepdims=0),
    ]
    data = model(nodes, {"x": [1, 1, 5, 5]}, {"w": weights(np.random.default_rng(0), 4, 1, 3, 3)})
    ops = [type(one.op) for one in assert_equals_onnxruntime(data).nodes]
    assert Mean in ops
    assert Transpose not in ops


def test_conv1d_equals_onnxruntime() -> None:
    rng = np.random.default_rng(0)
    layer = node("Conv", ["x", "w"], ["y"], pads=[2, 1], strides=[2], dilations=[2])
    assert_equals_onnxruntime(model([layer], {"x": [1, 4, 16]}, {"w": weights(rng, 6, 4, 3)}))


def test_quantised_activations_are_rounded_as_onnxruntime_does() -> None:
    rng = np.random.default_rng(1)
    constants = {
        "s": np.float32(0.05),
        "z": np.uint8(110),
        "wq": rng.integers(-127, 128, (4, 2, 3, 3), dtype=np.int8),
        "ws": rng.uniform(0.01, 0.02, 4).astype(np.float32),
        "wz": np.zeros(4, np.int8),
        "t": np.float32(0.1),
    }
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        node("DequantizeLinear", ["wq", "ws", "wz"], ["w"], axis=0),
        node("Conv", ["xd", "w"], ["a"]),
        node("Relu", ["a"], ["r"]),
        node("QuantizeLinear", ["r", "t", "z"], ["rq"]),
        node("DequantizeLinear", ["rq", "t", "z"], ["y"]),
    ]
    graph = assert_equals_onnxruntime(model(nodes, {"x": [1, 2, 6, 6]}, constants))
    assert graph.output_tensors[0].quant is not None
    assert graph.output_tensors[0].zero_point == 110 - 128


def test_all_unsupported_operators_are_listed() -> None:
    nodes = [node("Acos", ["x"], ["a"]), node("Relu", ["a"], ["b"]), node("Det", ["b"], ["y"])]
    with pytest.raises(ModelError, match=r"2 of 3.*Acos at #0.*Det at #2") as caught:
        import_onnx(model(nodes, {"x": [1, 4, 4]}), "net")
    assert caught.value.code == "E210"


def test_numbers_of_places_are_no_real_numbers() -> None:
    nodes = [node("ArgMax", ["x"], ["i"]), node("Cast", ["i"], ["y"], to=1)]
    with pytest.raises(ModelError, match="of integers that are computed"):
        import_onnx(model(nodes, {"x": [3, 4]}), "net")


def test_a_dynamic_dimension_is_named() -> None:
    with pytest.raises(ModelError, match="width") as caught:
        import_onnx(model([node("Relu", ["x"], ["y"])], {"x": [1, "width"]}), "net")
    assert caught.value.code == "E207"


def external(location: str) -> bytes:
    proto = onnx.ModelProto.FromString(
        model([node("Add", ["x", "c"], ["y"])], {"x": [1, 4]}, {"c": np.ones(4, np.float32)})
    )
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return bytes(proto.SerializeToString())


def test_external_data_is_read_beside_the_model(tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(np.arange(4, dtype=np.float32).tobytes())
    graph = import_onnx(external("data.bin"), "net", tmp_path)
    (got,) = run_float(graph, [np.zeros((1, 4), np.float32)])
    assert got.tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize("location", ["../data.bin", "/etc/hostname", "missing.bin"])
def test_external_data_stays_in_the_models_folder(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "data.bin").write_bytes(bytes(16))
    with pytest.raises(ModelError) as caught:
        import_onnx(external(location), "net", folder)
    assert caught.value.code == "E212"


def test_damaged_files_end_in_a_model_error() -> None:
    rng = np.random.default_rng(5)
    whole = np.frombuffer(small_cnn(rng), np.uint8)
    refused = 0
    for _ in range(300):
        data = whole.copy()
        places = rng.integers(0, len(data), 4)
        data[places] = rng.integers(0, 256, 4)
        cut = int(rng.integers(1, len(data) + 1)) if rng.random() < 0.3 else len(data)
        try:
            import_onnx(data[:cut].tobytes(), "net")
        except ModelError:
            refused += 1
    assert refused > 100


FOLDER = (shared_data() or Path("absent")) / "models/onnx"
IMPORTED = [
    "misc/deepC_asl_model",
    "mlonmcu/micro_kws_m_static_fp32",
    "mlonmcu/micro_kws_m_static_qdq",
    "mlperf_tiny_kai_jiang/deep_autoencoder",
    "mlperf_tiny_kai_jiang/resnet",
    "onnx_light/light_squeezenet",
    "ort_examples/mnist",
    "ultraface/version-RFB-320_simplified",
    "ultraface/version-RFB-320_without_postprocessing",
]


@pytest.mark.skipif(not FOLDER.is_dir(), reason="no shared data")
@pytest.mark.parametrize("name", IMPORTED)
def test_real_files_equal_onnxruntime(name: str) -> None:
    graph = assert_equals_onnxruntime((FOLDER / f"{name}.onnx").read_bytes())
    assert sum(isinstance(one.op, Transpose) for one in graph.nodes) <= 1
