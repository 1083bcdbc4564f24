"""What an importer must refuse, crafted case by case: each ends in one error that says why."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tests.formats.files import write
from tests.graphs import Builder, random_graph
from toolchain import ops
from toolchain.errors import ModelError
from toolchain.exporters.tflite import export_tflite
from toolchain.exporters.tflite_writer import Record
from toolchain.importers import import_model
from toolchain.importers.tflite import import_tflite
from toolchain.ir import DType, Quant, Tensor, constant, run

Q = Quant.per_tensor(0.1, 3)


def refusal(data: bytes) -> ModelError:
    with pytest.raises(ModelError) as caught:
        import_tflite(data, "hostile")
    return caught.value


def int8(name: str, *shape: int) -> Tensor:
    return Tensor(name, shape, DType.INT8, Q)


def real(name: str, *shape: int) -> Tensor:
    return Tensor(name, shape, DType.FLOAT32)


@pytest.fixture(scope="module")
def schema() -> ModuleType:
    return pytest.importorskip("ai_edge_litert.schema_py_generated")


def small_net() -> bytes:
    b = Builder(np.random.default_rng(0))
    x = b.conv2d(b.input((1, 6, 6, 2)), 3)
    return export_tflite(b.graph(b.rescaled(ops.Add(), x, b.conv2d(x, 3, (1, 1)))))


@pytest.fixture
def tampered(schema: ModuleType) -> Callable[[Callable[[Any], None]], bytes]:
    """Return a function that changes a small network's file through its object form."""
    import flatbuffers

    def tamper(change: Callable[[Any], None]) -> bytes:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(small_net(), 0))
        change(model)
        builder = flatbuffers.Builder()
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    return tamper


def test_the_untouched_network_is_read(tampered: Callable[[Any], bytes]) -> None:
    assert len(import_tflite(tampered(lambda _: None), "net").nodes) == 3


def test_every_unsupported_operator_is_listed_with_its_layer_and_shapes() -> None:
    x, y, z, u = int8("x", 1, 8), int8("lstm/while", 1, 8), int8("sum", 1, 8), int8("u", 1, 8)
    records = [
        Record("UNIDIRECTIONAL_SEQUENCE_RNN", 1, ("x",), ("lstm/while",)),
        Record("TANH", 1, ("lstm/while",), ("sum",)),
        Record("CUMSUM", 1, ("sum",), ("u",)),
    ]
    error = refusal(write([x, y, z, u], records, ["x"], ["u"]))
    assert error.code == "E210"
    assert '#0 UNIDIRECTIONAL_SEQUENCE_RNN "lstm/while" (int8[1, 8])' in error.what
    assert '#2 CUMSUM "u" (int8[1, 8])' in error.what
    assert error.what.startswith("2 of 3 operators are not supported")
    assert error.numbers == {"unsupported": 2, "operators": 3}


def test_unsupported_operators_are_named_before_anything_else() -> None:
    odd = Tensor("x", (1, 8), DType.FLOAT32)
    record = Record("CUMSUM", 1, ("x",), ("y",))
    assert refusal(write([odd, real("y", 1, 8)], [record], ["x"], ["y"])).code == "E210"


def test_float_and_hybrid_models_are_refused_by_kind() -> None:
    weights = constant("w", np.ones((4, 8), np.float32))
    record = Record("FULLY_CONNECTED", 1, ("x", "w"), ("y",), "FullyConnectedOptions")
    tensors = [real("x", 1, 8), weights, real("y", 1, 4)]
    error = refusal(write(tensors, [record], ["x"], ["y"]))
    assert (error.code, error.what.split(":")[0]) == ("E202", "float model")
    hybrid = constant("w", np.ones((4, 8), np.int8), Quant.per_tensor(0.1))
    error = refusal(write([tensors[0], hybrid, tensors[2]], [record], ["x"], ["y"]))
    assert error.code == "E202"
    assert error.what.startswith("hybrid model")


def test_a_cyclic_graph_is_refused() -> None:
    records = [
        Record("ADD", 1, ("x", "b"), ("a",), "AddOptions"),
        Record("ADD", 1, ("x", "a"), ("b",), "AddOptions"),
    ]
    tensors = [int8(name, 1, 8) for name in "xab"]
    error = refusal(write(tensors, records, ["x"], ["b"]))
    assert error.code == "E205"
    assert "before it is made" in error.what


def test_a_computed_shape_is_refused() -> None:
    tensors = [int8("x", 1, 8), Tensor("perm", (2,), DType.INT32), int8("y", 8, 1)]
    record = Record("TRANSPOSE", 1, ("x", "perm"), ("y",))
    error = refusal(write(tensors, [record], ["x", "perm"], ["y"]))
    assert error.code == "E207"
    assert '"perm"' in error.what


def _dynamic(model: Any) -> None:
    graph = model.subgraphs[0]
    graph.tensors[graph.inputs[0]].shapeSignature = [1, -1, -1, 2]


def _batch(model: Any) -> None:
    graph = model.subgraphs[0]
    graph.tensors[graph.inputs[0]].shapeSignature = [-1, 6, 6, 2]


def _absurd(model: Any) -> None:
    graph = model.subgraphs[0]
    graph.tensors[graph.inputs[0]].shape = [2**30, 2**30, 2**30, 2]


def _no_size(model: Any) -> None:
    graph = model.subgraphs[0]
    graph.tensors[graph.inputs[0]].shape = [1, 0, 6, 2]


def _no_buffer(model: Any) -> None:
    graph = model.subgraphs[0]
    graph.tensors[graph.operators[0].inputs[1]].buffer = 10_000


def _short_buffer(model: Any) -> None:
    graph = model.subgraphs[0]
    weights = graph.tensors[graph.operators[0].inputs[1]]
    model.buffers[weights.buffer].data = model.buffers[weights.buffer].data[:-1]


def _no_tensor(model: Any) -> None:
    model.subgraphs[0].operators[0].inputs = [77, 1, 2]


def _too_few_inputs(model: Any) -> None:
    model.subgraphs[0].operators[0].inputs = model.subgraphs[0].operators[0].inputs[:1]


def _zero_stride(model: Any) -> None:
    model.subgraphs[0].operators[0].builtinOptions.strideH = 0


def _wrong_options(model: Any) -> None:
    operators = model.subgraphs[0].operators
    operators[0].builtinOptions = operators[2].builtinOptions
    operators[0].builtinOptionsType = operators[2].builtinOptionsType


def _no_scale(model: Any) -> None:
    graph = model.subgraphs[0]
    graph.tensors[graph.inputs[0]].quantization = None


def _nan_scale(model: Any) -> None:
    graph = model.subgraphs[0]
    graph.tensors[graph.inputs[0]].quantization.scale = [float("nan")]


def _far_zero_point(model: Any) -> None:
    graph = model.subgraphs[0]
    graph.tensors[graph.inputs[0]].quantization.zeroPoint = [2**40]


def _state(model: Any) -> None:
    graph = model.subgraphs[0]
    graph.tensors[graph.inputs[0]].isVariable = True


def _strings(model: Any) -> None:
    graph = model.subgraphs[0]
    graph.tensors[graph.inputs[0]].type = 5


def _no_graph(model: Any) -> None:
    model.subgraphs = []


def _input_twice(model: Any) -> None:
    model.subgraphs[0].inputs = [model.subgraphs[0].inputs[0]] * 2


def _constant_output(model: Any) -> None:
    model.subgraphs[0].outputs = [model.subgraphs[0].operators[0].inputs[1]]


def _new_version(model: Any) -> None:
    model.version = 4


@pytest.mark.parametrize(
    ("change", "code", "why"),
    [
        (_dynamic, "E207", "dynamic"),
        (_absurd, "E207", "shape"),
        (_no_size, "E207", "shape"),
        (_no_buffer, "E204", "no buffer"),
        (_short_buffer, "E204", "bytes of data"),
        (_no_tensor, "E204", "no tensor 77"),
        (_too_few_inputs, "E206", "1 inputs"),
        (_zero_stride, "E206", "positive"),
        (_wrong_options, "E206", "options"),
        (_no_scale, "E206", "no quantisation"),
        (_nan_scale, "E204", "scale"),
        (_far_zero_point, "E204", "zero point"),
        (_state, "E206", "lives on between inferences"),
        (_strings, "E208", "STRING"),
        (_no_graph, "E204", "no graph"),
        (_input_twice, "E205", "named once"),
        (_constant_output, "E205", "constant"),
        (_new_version, "E201", "version"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_tampered_network_is_refused(
    tampered: Callable[[Any], bytes], change: Callable[[Any], None], code: str, why: str
) -> None:
    error = refusal(tampered(change))
    assert error.code == code
    assert why in error.what


def test_an_unknown_batch_is_one(tampered: Callable[[Any], bytes]) -> None:
    assert import_tflite(tampered(_batch), "net").input_tensors[0].shape == (1, 6, 6, 2)


def test_a_dead_channel_with_scale_zero_is_read_with_a_warning(
    tampered: Callable[[Any], bytes],
) -> None:
    def kill(model: Any) -> None:
        graph = model.subgraphs[0]
        scales = graph.tensors[graph.operators[0].inputs[1]].quantization
        scales.scale = [0.0, *list(scales.scale)[1:]]

    with pytest.warns(UserWarning, match="scale is 0"):
        graph = import_tflite(tampered(kill), "net")
    (made,) = graph.nodes[0].op.reference(
        graph.operands(graph.nodes[0]), [np.full((1, 6, 6, 2), 90, np.int8), None, None]
    )
    assert np.all(made[..., 0] == graph.tensors[graph.nodes[0].outputs[0]].zero_point)


def test_packed_int4_weights_are_read(tampered: Callable[[Any], bytes]) -> None:
    values = np.random.default_rng(0).integers(-8, 8, (3, 3, 3, 2), dtype=np.int8)

    def pack(model: Any) -> None:
        graph = model.subgraphs[0]
        weights = graph.tensors[graph.operators[0].inputs[1]]
        weights.type = 17
        low, high = values.reshape(-1, 2).T.astype(np.uint8) & 0xF
        model.buffers[weights.buffer].data = low | high << 4

    graph = import_tflite(tampered(pack), "net")
    np.testing.assert_array_equal(graph.operands(graph.nodes[0]).input(1).values, values)


def test_claims_of_a_hostile_file_allocate_nothing() -> None:
    """A resize to a map of two thirds of a billion elements, and the like, only name sizes."""
    size = constant("size", np.array([2**14, 2**14], np.int32))
    y = replace(int8("y", 1, 2**14, 2**14, 1))
    record = Record(
        "RESIZE_NEAREST_NEIGHBOR", 1, ("x", "size"), ("y",), "ResizeNearestNeighborOptions"
    )
    data = write([int8("x", 1, 2, 2, 1), size, y], [record], ["x"], ["y"])
    tracemalloc.start()
    import_tflite(data, "hostile")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20


def test_a_file_that_grows_to_many_times_its_size_is_refused(schema: ModuleType) -> None:
    b = Builder(np.random.default_rng(0))
    x = b.input((1, 40_000))
    for _ in range(40):
        x = b.rescaled(ops.Add(), x, b.constant((1, 40_000)))
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(export_tflite(b.graph(x)), 0))
    shared = next(i for i, buffer in enumerate(model.buffers) if buffer.data is not None)
    for tensor in model.subgraphs[0].tensors:
        tensor.buffer = shared if tensor.buffer else 0
    for buffer in model.buffers[shared + 1 :]:
        buffer.data = None
    import flatbuffers

    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    error = refusal(bytes(builder.Output()))
    assert error.code == "E204"
    assert "more data than the file" in error.what


def test_other_files_are_refused_by_content(tmp_path: Path) -> None:
    for name, content, why in (
        ("keras.h5", b"\x89HDF\r\n\x1a\nxxxx", "convert"),
        ("model.tflite", b"hello, this is text", "not a model file"),
        ("empty.tflite", b"", "empty"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelError, match=why) as caught:
            import_model(tmp_path / name)
        assert caught.value.code == "E201"
        assert name in str(caught.value)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.tflite", tmp_path):
        with pytest.raises(ModelError, match="cannot be read") as caught:
            import_model(path)
        assert caught.value.code == "E201"


def test_a_missing_package_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.bin"
    path.write_bytes(small_net())
    monkeypatch.setitem(sys.modules, "tflite", None)
    with pytest.raises(ModelError) as caught:
        import_model(path)
    assert caught.value.code == "E203"
    assert "tessera[mcu]" in caught.value.hints[0]


def test_a_model_is_found_by_content_whatever_its_name(tmp_path: Path) -> None:
    graph = random_graph(np.random.default_rng(1))
    path = tmp_path / "net.bin"
    path.write_bytes(export_tflite(graph))
    again = import_model(path)
    rng = np.random.default_rng(0)
    inputs = [rng.integers(-128, 128, t.shape, dtype=np.int8) for t in graph.input_tensors]
    np.testing.assert_array_equal(run(again, inputs)[0], run(graph, inputs)[0])


def test_embeddings_are_listed_with_what_makes_their_indices() -> None:
    table = constant("table", np.zeros((10, 4), np.float32))
    tokens = Tensor("tokens", (1, 3), DType.INT32)
    tensors = [real("x", 1, 3), tokens, table, real("y", 1, 3, 4)]
    records = [
        Record("CAST", 1, ("x",), ("tokens",)),
        Record("GATHER", 1, ("table", "tokens"), ("y",), "GatherOptions", {"Axis": 0}),
    ]
    error = refusal(write(tensors, records, ["x"], ["y"]))
    assert error.code == "E210"
    assert "#0 CAST" in error.what
    assert "#1 GATHER of computed indices" in error.what
