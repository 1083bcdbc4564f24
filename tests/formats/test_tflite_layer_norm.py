"""Layer normalisation as ``.tflite`` files spell it, in both directions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.cli.test_quantize import call
from tests.formats.files import write
from tests.formats.onnx_graphs import helper, model
from tests.formats.test_float_tflite import assert_equals_tflite, real
from tests.oracle.runtimes import Micro, Reference
from toolchain.exporters.tflite import custom_operators
from toolchain.exporters.tflite_writer import Record
from toolchain.importers import import_float, import_model
from toolchain.importers.onnx import import_onnx
from toolchain.importers.tflite import import_float_tflite
from toolchain.ir import Array, Tensor, constant, run
from toolchain.passes import spell_out_layer_norms
from toolchain.quantization import compare_layers, quantize

EPSILON = 1e-3


def keras_file(seed: int) -> bytes:
    """Return what TensorFlow's converter makes of Keras' LayerNormalization, in its variations."""
    rng = np.random.default_rng(seed)
    shape = [(1, 5, 8), (1, 3, 4, 6), (2, 7)][seed % 3]
    axes = [len(shape) - 1] if seed % 4 else list(range(1, len(shape)))
    single = tuple(1 if axis in axes else n for axis, n in enumerate(shape))
    wide = tuple(n if axis == len(shape) - 1 else 1 for axis, n in enumerate(shape))
    gain = rng.uniform(0.5, 2, wide) if seed % 2 else np.ones(wide)
    tensors = [
        real("x", *shape),
        *(real(name, *single) for name in ("mean", "var", "sum", "root")),
        *(real(name, *shape) for name in ("square", "f", "xf", "mf", "rest", "y")),
        constant("axes", np.array(axes, np.int32)),
        constant("eps", np.array(EPSILON, np.float32)),
        constant("gain", gain.astype(np.float32)),
        constant("offset", rng.normal(0, 1, wide).astype(np.float32)),
    ]
    keep = {"KeepDims": True}
    records = [
        Record("MEAN", 1, ("x", "axes"), ("mean",), "ReducerOptions", keep),
        Record("SQUARED_DIFFERENCE", 1, ("x", "mean"), ("square",)),
        Record("MEAN", 1, ("square", "axes"), ("var",), "ReducerOptions", keep),
        Record("ADD", 1, ("var", "eps"), ("sum",), "AddOptions"),
        Record("RSQRT", 1, ("sum",), ("root",)),
        Record("MUL", 1, ("root", "gain"), ("f",), "MulOptions"),
        Record("MUL", 1, ("x", "f"), ("xf",), "MulOptions"),
        Record("MUL", 1, ("mean", "f"), ("mf",), "MulOptions"),
        Record("SUB", 1, ("offset", "mf"), ("rest",), "SubOptions"),
        Record("ADD", 1, ("xf", "rest"), ("y",), "AddOptions"),
    ]
    small = {"f": tuple(np.broadcast_shapes(single, wide)), "rest": ()}
    small["rest"] = small["mf"] = small["f"]
    tensors = [Tensor(t.name, small.get(t.name, t.shape), t.dtype, None, t.data) for t in tensors]
    return write(tensors, records, ["x"], ["y"])


@pytest.mark.parametrize("seed", range(12))
def test_keras_layer_normalisation_is_one_operator(seed: int) -> None:
    data = keras_file(seed)
    graph = import_float_tflite(data, "net")
    assert_equals_tflite(data, graph)
    names = [node.op.name for node in graph.nodes]
    assert names.count("layer_norm") == 1
    assert not {"squared_difference", "rsqrt", "sub", "mean"} & set(names)
    if seed % 4:
        assert names == ["layer_norm"]


def normalised() -> bytes:
    """Return two layers with layer normalisation between them, and behind them."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("LayerNormalization", ["a", "g", "b"], ["c"], epsilon=EPSILON),
        helper.make_node("MatMul", ["c", "w"], ["d"]),
        helper.make_node("LayerNormalization", ["d", "g"], ["y"], epsilon=EPSILON),
    ]
    constants = {
        "w": rng.normal(0, 0.3, (16, 16)).astype(np.float32),
        "g": rng.uniform(0.5, 2, 16).astype(np.float32),
        "b": rng.normal(0, 1, 16).astype(np.float32),
    }
    return model(nodes, {"x": [1, 6, 16]}, constants)


def samples(count: int, seed: int) -> Array:
    return np.random.default_rng(seed).normal(0, 1, (count, 1, 6, 16)).astype(np.float32)


def test_spelled_out_it_keeps_its_meaning_and_most_of_its_precision() -> None:
    graph = import_onnx(normalised(), "net")
    spelled = spell_out_layer_norms(graph)
    cases, tested = [[x] for x in samples(16, 0)], [[x] for x in samples(8, 1)]
    ratios = []
    for network in (graph, spelled):
        errors = compare_layers(network, quantize(network, cases), tested)
        ratios.append({one.tensor: one.sqnr_db for one in errors}["y"])
    assert ratios[1] > max(25, ratios[0] - 6)


def test_other_runtimes_execute_standard_operators_alone(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file, data, target = (tmp_path / name for name in ("net.onnx", "calib.npy", "net.tflite"))
    file.write_bytes(normalised())
    np.save(data, samples(8, 0))
    words = ("quantize", file, "--data", data, "-o", target)
    _, envelope = call(capsys, *words)
    assert envelope["result"]["custom_operators"] == {"TesseraLayerNorm": 2}
    assert "only Tessera executes 2 TesseraLayerNorm" in envelope["warnings"][-1]
    code, envelope = call(capsys, *words, "--standard-operators")
    assert (code, envelope["result"]["custom_operators"]) == (0, {})
    graph = import_model(target)
    assert not custom_operators(graph)
    (x,) = graph.input_tensors
    for seed in range(20):
        rng = np.random.default_rng(seed)
        values = rng.integers(-128, 128, x.shape, dtype=np.int8)
        (ours,) = run(graph, [values])
        np.testing.assert_array_equal(Micro(target.read_bytes()).run([values], 1)[0], ours)
        (theirs,) = Reference(target.read_bytes()).run([values], 1)
        assert np.abs(theirs.astype(int) - ours).max() <= 2


def test_the_spelled_out_file_is_read_as_one_operator_again(tmp_path: Path) -> None:
    """A float graph that was spelled out is fused when it is simplified."""
    path = tmp_path / "net.onnx"
    path.write_bytes(normalised())
    from toolchain.passes import simplify_float

    again = simplify_float(spell_out_layer_norms(import_float(path)))
    assert [node.op.name for node in again.nodes].count("layer_norm") == 2
    assert len(again.nodes) == len(import_float(path).nodes)
