"""Models of which some operators are C and others are left to onnxruntime."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from boards import load_board
from runtimes.edge.build import build_library
from runtimes.edge.onnx_parts import OnnxCut
from runtimes.edge.split import Network
from runtimes.edge.split_model import split_tflite
from tests.conftest import ROOT
from tests.formats.onnx_graphs import helper, model, truth
from toolchain.cli import main
from toolchain.errors import TesseraError
from toolchain.importers import import_model
from toolchain.ir import Array, run

node = helper.make_node


def weights(seed: int, *shape: int) -> Array:
    fan_in = np.prod(shape[1:]) if len(shape) > 1 else 1
    return (np.random.default_rng(seed).normal(0, 1, shape) / np.sqrt(fan_in)).astype(np.float32)


def with_strange_operators() -> bytes:
    """Return a CNN with two operators that have no C, one beside a branch that has."""
    constants = {
        "w1": weights(0, 8, 3, 3, 3),
        "w2": weights(1, 8, 8, 3, 3),
        "w3": weights(2, 10, 32),
        "rest": np.array([-1]),
    }
    nodes = [
        node("Conv", ["x", "w1"], ["a"], pads=[1, 1, 1, 1], strides=[2, 2]),
        node("Sinh", ["a"], ["b"], name="soft"),
        node("Conv", ["a", "w2"], ["c"], pads=[1, 1, 1, 1]),
        node("Add", ["b", "c"], ["d"]),
        node("Asinh", ["d"], ["e"]),
        node("MaxPool", ["e"], ["f"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Shape", ["f"], ["s"], end=1),
        node("Concat", ["s", "rest"], ["to"], axis=0),
        node("Reshape", ["f", "to"], ["g"]),
        node("Gemm", ["g", "w3"], ["h"], transB=1),
        node("Softmax", ["h"], ["y"], axis=1),
    ]
    return model(nodes, {"x": ["N", 3, 8, 8]}, constants)


def images(count: int, seed: int) -> Array:
    return np.random.default_rng(seed).normal(0, 1, (count, 3, 8, 8)).astype(np.float32)


def compiled(
    folder: Path, data: bytes, *words: str, capsys: pytest.CaptureFixture[str]
) -> dict[str, Any]:
    """Compile a model for this computer; return the result of the command."""
    (folder / "net.onnx").write_bytes(data)
    command = ["compile", str(folder / "net.onnx"), "--board", "host", "--engine", "onnxruntime"]
    code = main([*command, *words, "-o", str(folder / "build"), "--json"])
    envelope: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert envelope["exit_code"] == code
    return envelope


def network(folder: Path) -> Network:
    """Build the library of a package as its users do, and open it."""
    root = folder / "build"
    sources = [str(path.relative_to(root)) for path in sorted(root.rglob("*.c"))]
    build_library(sources, load_board("host"), root, root / "net/libnet.so")
    return Network(root / "net")


def sqnr_db(got: Array, want: Array) -> float:
    return float(10 * np.log10(np.square(want).sum() / np.square(got - want).sum()))


def test_what_is_not_supported_is_left_to_the_engine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = with_strange_operators()
    np.save(tmp_path / "calib.npy", images(16, 0))
    words = ("--engine-for", "unsupported", "--data", str(tmp_path / "calib.npy"))
    parts = compiled(tmp_path, data, *words, capsys=capsys)["result"]["parts"]
    assert [(one["by"], one["operators"]) for one in parts] == [
        ("compiled", "2 Conv"),
        ("onnxruntime", "Sinh, Add, Asinh"),
        ("compiled", "MaxPool, Reshape, Gemm, Softmax"),
    ]
    assert parts[1]["why"] == ["not supported: Sinh, Asinh", "no products beside it: Add"]
    made, x = network(tmp_path), images(5, 1)
    (got,) = made.run(x)
    want = np.concatenate([truth(data, [one[None]])[0] for one in x])
    assert got.shape == want.shape
    assert sqnr_db(got, want) > 25


def test_operators_are_left_by_kind_and_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = with_strange_operators()
    np.save(tmp_path / "calib.npy", images(16, 0))
    words = ("--engine-for", "Gemm", "--engine-for", "soft", "--data", str(tmp_path / "calib.npy"))
    parts = compiled(tmp_path, data, *words, capsys=capsys)["result"]["parts"]
    assert [one["by"] for one in parts] == ["compiled", "onnxruntime"]
    why = parts[1]["why"]
    assert {"asked for: Sinh, Gemm", "not supported: Asinh"} <= set(why)
    assert any(one.startswith("no products beside it: ") and "MaxPool" in one for one in why)
    (got,) = network(tmp_path).run(images(1, 1))
    np.testing.assert_allclose(got, truth(data, [images(1, 1)])[0], atol=0.05)


def test_a_model_of_supported_operators_is_all_c(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = model(
        [node("Conv", ["x", "w"], ["h"]), node("Relu", ["h"], ["y"])],
        {"x": [1, 3, 8, 8]},
        {"w": weights(0, 4, 3, 3, 3)},
    )
    np.save(tmp_path / "calib.npy", images(16, 0))
    words = ("--engine-for", "unsupported", "--data", str(tmp_path / "calib.npy"))
    (part,) = compiled(tmp_path, data, *words, capsys=capsys)["result"]["parts"]
    assert (part["by"], part["count"], part["macs"]) == ("compiled", 2, 4 * 6 * 6 * 27)
    (got,) = network(tmp_path).predict(images(3, 0))
    want = np.concatenate([truth(data, [one[None]])[0] for one in images(3, 0)])
    assert sqnr_db(got, want) > 30


def quantised(middle: str) -> bytes:
    """Return two convolutions that the file quantises itself, with an operator between them."""
    constants: dict[str, Array] = {
        "s": np.float32(0.05),
        "t": np.float32(0.1),
        "z": np.int8(3),
        "ws": np.full(4, 0.003, np.float32),
        "wz": np.zeros(4, np.int8),
    }
    rng = np.random.default_rng(0)
    nodes = []
    for number, source, target in ((0, "x", "m"), (1, "n", "y")):
        i = str(number)
        constants["w" + i] = rng.integers(-127, 128, (4, 3 + number, 3, 3), dtype=np.int8)
        nodes += [
            node("QuantizeLinear", [source, "s", "z"], ["q" + i]),
            node("DequantizeLinear", ["q" + i, "s", "z"], ["d" + i]),
            node("DequantizeLinear", ["w" + i, "ws", "wz"], ["wd" + i], axis=0),
            node("Conv", ["d" + i, "wd" + i], ["a" + i]),
            node("QuantizeLinear", ["a" + i, "t", "z"], ["r" + i]),
            node("DequantizeLinear", ["r" + i, "t", "z"], [target]),
        ]
    nodes.insert(6, node(middle, ["m"], ["n"]))
    return model(nodes, {"x": [1, 3, 8, 8]}, constants)


def test_a_file_that_quantises_itself_needs_no_samples(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = quantised("Softplus")
    envelope = compiled(tmp_path, data, "--engine-for", "Softplus", capsys=capsys)
    parts = envelope["result"]["parts"]
    assert [one["by"] for one in parts] == ["compiled", "onnxruntime", "compiled"]
    (got,) = network(tmp_path).run(images(4, 3))
    want = np.concatenate([truth(data, [one[None]])[0] for one in images(4, 3)])
    # Values on the edge between two steps may fall to the other side.
    assert np.abs(got - want).max() <= 0.1 + 1e-4
    assert np.mean(np.abs(got - want) > 1e-4) < 0.02


def test_operators_of_a_tflite_file_are_left_to_its_runtime(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ROOT / "examples/digits/digits.tflite"
    graph = import_model(model)
    kind = "MAX_POOL_2D" if any(n.op.name == "max_pool2d" for n in graph.nodes) else "SOFTMAX"
    words = ["compile", str(model), "--board", "host", "--engine", "tflite", "--engine-for", kind]
    assert main([*words, "-o", str(tmp_path / "build"), "--json"]) == 0
    parts = json.loads(capsys.readouterr().out)["result"]["parts"]
    assert {one["by"] for one in parts} == {"compiled", "tflite"}
    root = tmp_path / "build"
    sources = [str(path.relative_to(root)) for path in sorted(root.rglob("*.c"))]
    build_library(sources, load_board("host"), root, root / "digits/libdigits.so")
    network = Network(root / "digits")
    pictures = np.load(ROOT / "examples/digits/images.npy")[:5].reshape(5, *network.inputs[0].case)
    for got, picture in zip(network.run(pictures)[0], pictures, strict=True):
        (want,) = run(graph, [picture[None]])
        assert np.abs(got.astype(int) - want[0]).max() <= 1


@pytest.mark.filterwarnings("ignore::toolchain.importers.ModelWarning")
def test_damaged_files_end_in_an_error_of_ours(tmp_path: Path) -> None:
    whole = np.frombuffer((ROOT / "examples/digits/digits.tflite").read_bytes(), np.uint8)
    rng, refused = np.random.default_rng(0), 0
    for number in range(100):
        data = whole.copy()
        # The structure lies behind the weights.
        data[rng.integers(len(data) - 6000, len(data), 3)] = rng.integers(0, 256, 3)
        path = tmp_path / "damaged.tflite"
        path.write_bytes(data.tobytes())
        try:
            split_tflite(path, ["SOFTMAX", "unsupported"][number % 2 :])
        except TesseraError:
            refused += 1
    assert 10 < refused < 90


def test_what_is_not_real_never_crosses_the_border(tmp_path: Path) -> None:
    nodes = [
        node("ArgMax", ["x"], ["i"], axis=1, keepdims=1),
        node("Cast", ["i"], ["f"], to=1),
        node("Mul", ["f", "x"], ["y"]),
    ]
    (tmp_path / "net.onnx").write_bytes(model(nodes, {"x": [2, 5]}))
    cut = OnnxCut(tmp_path / "net.onnx", {"x": np.ones((2, 5), np.float32)})
    found = [(one.compiled, one.nodes) for one in cut.parts([1])]
    assert found == [(False, (0, 1)), (True, (2,))]


def test_a_part_of_shapes_and_constants_is_whole(tmp_path: Path) -> None:
    """The reshape's shape is computed of what the engine makes."""
    (tmp_path / "net.onnx").write_bytes(with_strange_operators())
    cut = OnnxCut(tmp_path / "net.onnx", {"x": images(1, 0)})
    *_, last = cut.parts([1, 4, 5])
    assert [cut.nodes[i].op_type for i in last.nodes] == ["Reshape", "Gemm", "Softmax"]
    (want,) = truth(cut.submodel(last), [cut.values["f"]])
    np.testing.assert_array_equal(want, cut.values["y"])


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--engine-for", "Sotfplus"], "E141"),
        (["--engine-for", "unsupported"], "E115"),
    ],
)
def test_wishes_that_cannot_be_met_are_refused(
    words: list[str], code: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    envelope = compiled(tmp_path, with_strange_operators(), *words, capsys=capsys)
    assert envelope["exit_code"] == 2
    assert code in json.dumps(envelope)
    assert not (tmp_path / "build").exists()


def test_parts_need_an_engine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["compile", "x.onnx", "--board", "host", "--engine-for", "Conv"]
    assert main([*words, "-o", str(tmp_path / "build")]) == 2
    assert "E101" in capsys.readouterr().err
    words = ["compile", "x.onnx", "--board", "host", "--engine", "tflite", "--engine-for", "ADD"]
    assert main([*words, "-o", str(tmp_path / "build")]) == 2
    assert "E141" in capsys.readouterr().err
