"""ONNX files whose inputs or branches are open until the caller says more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data import shared_data
from tests.formats.onnx_graphs import helper, model, onnx, truth
from toolchain.errors import ModelError, UsageError
from toolchain.importers import import_float
from toolchain.importers.onnx import import_onnx
from toolchain.importers.onnx_file import Known
from toolchain.reference import run_float

node = helper.make_node
FLOAT, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64


def branch(op: str) -> Any:
    """Return a subgraph that applies ``op`` to the outer ``x``."""
    made = helper.make_tensor_value_info(f"{op}:y", FLOAT, None)
    return helper.make_graph([node(op, ["x"], [f"{op}:y"])], op, [], [made])


def branching(condition: str = "fast") -> bytes:
    """Return a file that takes a branch by its integer input ``rate``."""
    nodes = [
        node("Equal", ["rate", "sixteen"], ["fast"]),
        node("If", [condition], ["z"], then_branch=branch("Tanh"), else_branch=branch("Sigmoid")),
        node("Neg", ["z"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [
            helper.make_tensor_value_info("x", FLOAT, ["batch", "samples"]),
            helper.make_tensor_value_info("rate", INT64, []),
        ],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        [onnx.numpy_helper.from_array(np.array(16, np.int64), "sixteen")],
    )
    opsets = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


@pytest.mark.parametrize("rate", [8, 16])
def test_the_branch_of_a_known_condition_is_taken(rate: int) -> None:
    known = Known({"x": (1, 7)}, {"rate": rate})
    graph = import_onnx(branching(), "net", known=known)
    x = np.random.default_rng(0).normal(0, 1, (1, 7)).astype(np.float32)
    (want,) = truth(branching(), [x, np.array(rate, np.int64)])
    (got,) = run_float(graph, [x])
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_a_computed_condition_is_refused() -> None:
    known = Known({"x": (1, 7)}, {"rate": 16})
    with pytest.raises(ModelError, match="condition is computed") as caught:
        import_onnx(branching(condition="x"), "net", known=known)
    assert caught.value.code == "E210"


@pytest.mark.parametrize(
    ("known", "error", "code"),
    [
        (Known({}, {"rate": 16}), ModelError, "E207"),
        (Known({"x": (1, 7)}), ModelError, "E208"),
        (Known({"x": (7,)}, {"rate": 16}), UsageError, "E122"),
        (Known({"x": (1, 0)}, {"rate": 16}), UsageError, "E122"),
        (Known({"z": (1, 7)}, {"rate": 16}), UsageError, "E122"),
    ],
)
def test_what_is_missing_or_wrong_is_named(known: Known, error: type[Any], code: str) -> None:
    with pytest.raises(error) as caught:
        import_onnx(branching(), "net", known=known)
    assert caught.value.code == code


def test_a_shape_that_the_file_fixes_stays() -> None:
    data = model([node("Relu", ["x"], ["y"])], {"x": [1, 4]})
    assert import_onnx(data, "net", known=Known({"x": (1, 4)})).input_tensors[0].shape == (1, 4)
    with pytest.raises(UsageError, match=r"\[1, 4\], not \[1, 5\]"):
        import_onnx(data, "net", known=Known({"x": (1, 5)}))


@pytest.mark.parametrize("pads", [[0, 0, 2, 1, 0, 0, 1, 3], [0, 1, 0, 0, 0, 0, 4, 0]])
def test_reflected_padding(pads: list[int]) -> None:
    layer = node("Pad", ["x", "pads"], ["y"], mode="reflect")
    data = model([layer], {"x": [1, 2, 5, 6]}, {"pads": np.array(pads, np.int64)})
    x = np.random.default_rng(0).normal(0, 1, (1, 2, 5, 6)).astype(np.float32)
    np.testing.assert_array_equal(run_float(import_onnx(data, "net"), [x]), truth(data, [x]))


@pytest.mark.parametrize("exponent", [0.5, 1, 2, 3])
def test_powers_and_roots(exponent: float) -> None:
    layers = [
        node("Pow", ["x", "e"], ["p"]),
        node("Relu", ["p"], ["r"]),
        node("Sqrt", ["r"], ["y"]),
    ]
    data = model(layers, {"x": [1, 9]}, {"e": np.array(exponent, np.float32)})
    x = np.abs(np.random.default_rng(0).normal(0, 2, (1, 9))).astype(np.float32)
    np.testing.assert_allclose(run_float(import_onnx(data, "net"), [x]), truth(data, [x]), 1e-5)


SILERO = (shared_data() or Path("absent")) / "models/onnx/silero_vad/silero_vad.onnx"


@pytest.mark.skipif(not SILERO.is_file(), reason="no shared data")
@pytest.mark.parametrize(("rate", "samples"), [(16000, 576), (8000, 288)])
def test_a_voice_detector_equals_onnxruntime_over_a_sequence(rate: int, samples: int) -> None:
    shapes = {"input": (1, samples), "state": (2, 1, 128)}
    graph = import_float(SILERO, shapes=shapes, constants={"sr": rate})
    rng = np.random.default_rng(0)
    ours = theirs = np.zeros((2, 1, 128), np.float32)
    for _ in range(12):
        x = rng.normal(0, 0.2, (1, samples)).astype(np.float32)
        want, theirs = truth(SILERO.read_bytes(), [x, theirs, np.array(rate, np.int64)])
        got, ours = run_float(graph, [x, ours])
        np.testing.assert_allclose(got, want, atol=1e-6)
