"""ONNX LSTM and GRU: what onnxruntime computes, step by step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codegen.emit import emit
from runtimes.host import build_host
from tests.formats.onnx_graphs import helper, model, truth
from tests.oracle.runtimes import Micro
from toolchain.errors import ModelError
from toolchain.exporters.tflite import export_tflite
from toolchain.importers.onnx import import_onnx
from toolchain.ir import Array, Graph, run
from toolchain.plan import plan_model
from toolchain.quantization import quantize
from toolchain.quantization.report import integer_case
from toolchain.reference import run_float

node = helper.make_node
GATES = {"LSTM": 4, "GRU": 3}
SEEDS = range(30)


def weights(rng: np.random.Generator, *shape: int) -> Array:
    return rng.normal(0, 0.5, shape).astype(np.float32)


def random_layer(kind: str, rng: np.random.Generator) -> bytes:
    """Return a file of one layer with random options, some states given and some inputs."""
    steps, batch, size, units = (int(n) for n in rng.integers(1, 6, 4))
    direction = str(rng.choice(["forward", "reverse", "bidirectional"]))
    ways, rows = (2 if direction == "bidirectional" else 1), GATES[kind] * units
    constants = {"w": weights(rng, ways, rows, size), "r": weights(rng, ways, rows, units)}
    inputs: dict[str, list[int]] = {"x": [steps, batch, size]}
    names = ["x", "w", "r", "", "", ""] + [""] * (kind == "LSTM")
    if rng.random() < 0.7:
        names[3], constants["b"] = "b", weights(rng, ways, 2 * rows)
    for place, state in enumerate(["h", "c"][: len(names) - 5], 5):
        given = rng.integers(3)
        if given == 0:
            names[place], inputs[state] = state, [ways, batch, units]
        elif given == 1:
            names[place], constants[state] = state, weights(rng, ways, batch, units)
    options: dict[str, Any] = {"direction": direction, "hidden_size": units}
    if kind == "GRU":
        options["linear_before_reset"] = int(rng.integers(2))
    made = ["y", "yh", "yc"][: 3 if kind == "LSTM" else 2]
    kept = ["y"] if rng.random() < 0.3 else made[1:] if rng.random() < 0.3 else made
    wanted = [name if name in kept else "" for name in made]
    return model([node(kind, names, wanted, **options)], inputs, constants, outputs=kept)


def random_inputs(graph: Graph, seed: int) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 1, x.shape).astype(np.float32) for x in graph.input_tensors]


@pytest.mark.parametrize("kind", GATES)
def test_layers_equal_onnxruntime(kind: str) -> None:
    for seed in SEEDS:
        data = random_layer(kind, np.random.default_rng(seed))
        graph = import_onnx(data, "net")
        inputs = random_inputs(graph, seed)
        for got, want in zip(run_float(graph, inputs), truth(data, inputs), strict=True):
            assert got.shape == want.shape
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5, err_msg=f"seed {seed}")


@pytest.mark.parametrize("kind", GATES)
def test_the_batch_may_come_first(kind: str) -> None:
    rng = np.random.default_rng(1)
    rows = GATES[kind] * 3
    constants = {"w": weights(rng, 1, rows, 4), "r": weights(rng, 1, rows, 3)}
    inputs = {"x": [5, 2, 4], "h": [1, 2, 3]}
    turned = {"x": [2, 5, 4], "h": [2, 1, 3]}
    names = ["x", "w", "r", "", "", "h"]
    first = import_onnx(model([node(kind, names, ["y"], layout=1)], turned, constants), "net")
    plain = import_onnx(model([node(kind, names, ["y"])], inputs, constants), "net")
    x, h = random_inputs(plain, 0)
    (got,) = run_float(first, [x.swapaxes(0, 1), h.swapaxes(0, 1)])
    (want,) = run_float(plain, [x, h])
    np.testing.assert_allclose(got, want.transpose(2, 0, 1, 3), rtol=1e-6)


def classifier(kind: str, steps: int = 9) -> Graph:
    """Return a layer over a sequence, and a fully connected layer behind its last state."""
    rng = np.random.default_rng(5)
    rows = GATES[kind] * 12
    constants = {"w": weights(rng, 1, rows, 6), "r": weights(rng, 1, rows, 12) / 2}
    constants |= {"b": weights(rng, 1, 2 * rows), "m": weights(rng, 5, 12)}
    nodes = [
        node(kind, ["x", "w", "r", "b"], ["", "last"], hidden_size=12),
        node("Flatten", ["last"], ["flat"]),
        node("Gemm", ["flat", "m"], ["y"], transB=1),
    ]
    return import_onnx(model(nodes, {"x": [steps, 1, 6]}, constants), "net")


@pytest.mark.parametrize("kind", GATES)
def test_quantised_layers_stay_near_and_compile(kind: str, tmp_path: Path) -> None:
    graph = classifier(kind)
    cases = [random_inputs(graph, seed) for seed in range(40)]
    for activations, allowed in (("int8", 0.06), ("int16", 0.01)):
        made = quantize(graph, cases, activations=activations)
        (y,) = made.output_tensors
        codes = [integer_case(made, case) for case in cases]
        ours = [run(made, one)[0] for one in codes]
        real = [run_float(graph, case)[0] for case in cases]
        error = np.subtract(np.array(ours) * y.scale - y.zero_point * y.scale, real)
        assert np.sqrt(np.square(error).mean() / np.square(real).mean()) < allowed
        library = build_host(made, emit(made, plan_model(made)), tmp_path / y.dtype.value)
        np.testing.assert_array_equal([library.run(one)[0] for one in codes], ours)
        oracle = Micro(export_tflite(made))
        np.testing.assert_array_equal([oracle.run(one, 1)[0] for one in codes], ours)


@pytest.mark.parametrize(
    ("options", "names", "why"),
    [
        ({"clip": 1.0}, ["x", "w", "r"], "clipping"),
        ({"activations": ["Relu", "Tanh", "Tanh"]}, ["x", "w", "r"], "activations"),
        ({"input_forget": 1}, ["x", "w", "r"], "coupled gates"),
        ({}, ["x", "w", "r", "", "", "", "", "p"], "peepholes"),
        ({}, ["x", "w", "r", "", "lengths"], "end early"),
        ({}, ["x", "r", "r"], "gates"),
    ],
)
def test_what_is_not_read_is_refused(options: dict[str, Any], names: list[str], why: str) -> None:
    constants: dict[str, Array] = {
        "w": np.ones((1, 8, 3), np.float32),
        "r": np.ones((1, 8, 2), np.float32) if why != "gates" else np.ones((1, 8, 3), np.float32),
        "p": np.ones((1, 6), np.float32),
        "lengths": np.array([2], np.int32),
    }
    used = {name: constants[name] for name in {*names} & {*constants}}
    data = model([node("LSTM", names, ["y"], **options)], {"x": [4, 1, 3]}, used)
    with pytest.raises(ModelError, match=why) as caught:
        import_onnx(data, "net")
    assert caught.value.code == "E210"


def test_long_sequences_are_refused() -> None:
    constants = {"w": np.ones((1, 8, 3), np.float32), "r": np.ones((1, 8, 2), np.float32)}
    data = model([node("LSTM", ["x", "w", "r"], ["y"])], {"x": [257, 1, 3]}, constants)
    with pytest.raises(ModelError, match="257 steps"):
        import_onnx(data, "net")
