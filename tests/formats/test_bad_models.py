"""Models that cannot work: one error each, with the tensor's or operator's name and a way out."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.formats.files import write
from tests.formats.onnx_graphs import helper, model, onnx
from tests.formats.test_float_tflite import fully_connected, real
from toolchain.errors import ModelError
from toolchain.exporters.tflite_writer import Record
from toolchain.importers import import_float
from toolchain.importers.onnx import import_onnx
from toolchain.importers.tflite import import_float_tflite
from toolchain.ir import Array, constant

node = helper.make_node


def weights(*shape: int, bad: float | None = None) -> Array:
    values = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    if bad is not None:
        values.reshape(-1)[1] = bad
    return values


def refusal(data: bytes, folder: Path | None = None) -> ModelError:
    with pytest.raises(ModelError) as caught:
        import_onnx(data, "net", folder)
    return caught.value


GEMM, CONV = node("Gemm", ["x", "fc.weight"], ["y"]), node("Conv", ["x", "fc.weight"], ["y"])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize(
    ("layer", "x", "shape"), [(GEMM, [1, 4], (4, 3)), (CONV, [1, 3, 6, 6], (4, 3, 3, 3))]
)
def test_weights_that_are_no_numbers_are_named(
    layer: Any, x: list[int], shape: tuple[int, ...], bad: float
) -> None:
    error = refusal(model([layer], {"x": x}, {"fc.weight": weights(*shape, bad=bad)}))
    assert (error.code, error.where) == ("E216", 'tensor "fc.weight"')
    assert error.hints


def test_weights_of_a_float_tflite_file_are_numbers() -> None:
    with pytest.raises(ModelError, match=r'E216.*1 of 32 .*\n.*"w"'):
        import_float_tflite(fully_connected(constant("w", weights(4, 8, bad=np.nan))), "net")


@pytest.mark.parametrize(
    ("layer", "shapes", "why"),
    [
        (GEMM, {"x": [1, 5]}, "rows of [1, 5] do not fit 4"),
        (GEMM, {"x": [1, 8]}, "rows of [1, 8] do not fit 4"),
        (node("MatMul", ["x", "fc.weight"], ["y"]), {"x": [2, 3, 8]}, "rows of [2, 3, 8]"),
        (node("Add", ["x", "fc.weight"], ["y"]), {"x": [1, 5]}, "do not broadcast"),
        (node("MatMul", ["x", "z"], ["y"]), {"x": [2, 3], "z": [2, 3]}, "do not fit"),
        (node("Concat", ["x", "z"], ["y"], axis=0), {"x": [2, 3], "z": [2, 4]}, "concat"),
        (node("Reshape", ["x", "to"], ["y"]), {"x": [2, 3]}, "has not the size of [7]"),
    ],
)
def test_shapes_that_do_not_fit_are_named_with_their_operator(
    layer: Any, shapes: dict[str, list[int]], why: str
) -> None:
    constants = {"fc.weight": weights(4, 3), "to": np.array([7], np.int64)}
    error = refusal(model([layer], shapes, constants))
    assert error.code == "E206"
    assert f'{layer.op_type} at #0 "y"' in error.where
    assert why in error.what.lower()


def test_convolutions_of_other_channels_are_refused() -> None:
    error = refusal(model([CONV], {"x": [1, 5, 8, 8]}, {"fc.weight": weights(4, 3, 3, 3)}))
    assert (error.code, error.where) == ("E206", 'Conv at #0 "y"')
    assert error.what == "1 groups of 3 channels, but x has 5"


def test_foreign_domains_and_loops_are_listed_with_a_way_out() -> None:
    body = helper.make_graph([node("Identity", ["i"], ["o"])], "body", [], [])
    layers = [
        node("Relu", ["x"], ["a"], domain="com.example"),
        node("Attention", ["x", "x", "x"], ["b"], domain="com.microsoft"),
        node("Loop", ["", "", "x"], ["y"], body=body),
    ]
    error = refusal(model(layers, {"x": [1, 4]}))
    assert error.code == "E210"
    assert 'Relu at #0 "a": of the domain com.example' in error.what
    assert 'Attention at #1 "b": of the domain com.microsoft' in error.what
    assert 'Loop at #2 "y": control flow; unroll it' in error.what
    assert any("--engine onnxruntime" in hint for hint in error.hints)


def external(location: str, length: int) -> bytes:
    """Return a file whose weights lie elsewhere."""
    proto = onnx.ModelProto.FromString(model([GEMM], {"x": [1, 4]}, {"fc.weight": weights(4, 3)}))
    (tensor,) = proto.graph.initializer
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
    return bytes(proto.SerializeToString())


@pytest.mark.parametrize(
    ("location", "why"),
    [
        ("none.bin", "is missing"),
        ("short.bin", "holds 3 of 48 bytes"),
        ("../weights.bin", "outside the model's folder"),
        ("link.bin", "outside the model's folder"),
    ],
)
def test_external_data_is_whole_and_stays_in_its_folder(
    location: str, why: str, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "weights.bin").write_bytes(bytes(48))
    (folder / "short.bin").write_bytes(b"123")
    (folder / "link.bin").symlink_to(tmp_path / "weights.bin")
    error = refusal(external(location, 48), folder)
    assert (error.code, error.where) == ("E212", 'tensor "fc.weight"')
    assert why in error.what
    assert "one folder" in error.hints[0]


class Trap:
    """Leaves a mark when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    mark = tmp_path / "opened"
    for protocol in range(2, 6):
        (tmp_path / "net.pth").write_bytes(pickle.dumps(Trap(mark), protocol))
        with pytest.raises(ModelError, match=r"E215.*would run code") as caught:
            import_float(tmp_path / "net.pth")
        assert "build_model" in caught.value.hints[0]
    with zipfile.ZipFile(tmp_path / "net.pt", "w") as archive:
        archive.writestr("net/data.pkl", pickle.dumps(Trap(mark)))
    with pytest.raises(ModelError, match="E215"):
        import_float(tmp_path / "net.pt")
    assert not mark.exists()


def test_archives_that_grow_are_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pt2"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net/models/model.json", bytes(50 * 2**20))
    with pytest.raises(ModelError, match=f"E204.*unpacks to {50 * 2**20}"):
        import_float(path)


def test_unsupported_operators_of_tflite_files_may_be_left_to_a_runtime() -> None:
    data = write(
        [real("x", 1, 4), real("y", 1, 4)], [Record("CUMSUM", 1, ("x",), ("y",))], "x", "y"
    )
    with pytest.raises(ModelError) as caught:
        import_float_tflite(data, "net")
    assert any("--engine tflite" in hint for hint in caught.value.hints)
