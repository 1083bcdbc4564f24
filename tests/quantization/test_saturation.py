"""Ranges leave out what readers cannot tell apart."""

from __future__ import annotations

import numpy as np
import pytest

from tests.formats.onnx_graphs import model
from tests.quantization.networks import inputs, node
from toolchain.importers.onnx import import_onnx
from toolchain.ir import Array, Graph, constant
from toolchain.quantization import calibrate, compare_layers, prepare, quantize
from toolchain.quantization.calibrate import Cases
from toolchain.quantization.saturation import told_apart
from toolchain.reference import run_float


def through(op: str, gain: float, offset: float) -> tuple[Graph, Cases]:
    """Return a layer whose values ``op`` takes, and inputs."""
    rng = np.random.default_rng(0)
    weights = (gain * rng.normal(0, 1, (16, 8)) / np.sqrt(8)).astype(np.float32)
    constants = {"w": weights, "b": np.full(16, offset, np.float32)}
    nodes = [node("Gemm", ["x", "w", "b"], ["a"], transB=1), node(op, ["a"], ["y"])]
    graph = import_onnx(model(nodes, {"x": [1, 8]}, constants), "net")
    return graph, inputs(graph, 64, 1)


def kept(graph: Graph, cases: Cases) -> Array:
    """Return where the range of what the function takes begins and ends."""
    name = graph.nodes[-1].inputs[0] or ""
    return np.array(told_apart(graph, calibrate(graph, cases))[name])


@pytest.mark.parametrize(
    ("op", "low", "high"),
    [("HardSwish", -3.05, 12), ("Tanh", -4.2, 4.2), ("Sigmoid", -8.0, 8.0), ("Gelu", -3.2, 12)],
)
def test_flat_ends_of_functions_are_left_out(op: str, low: float, high: float) -> None:
    graph, cases = through(op, 5.0, 0.0)
    assert calibrate(graph, cases)[graph.nodes[-1].inputs[0] or ""].low < -10
    found = kept(graph, cases)
    assert low < found[0] < 0.8 * low
    assert found[1] < high if high < 10 else found[1] > 10
    quantised, test = quantize(graph, cases), inputs(graph, 32, 2)
    assert compare_layers(graph, quantised, test)[-1].sqnr_db > 35


def test_softmax_needs_no_values_far_below_the_greatest() -> None:
    graph, cases = through("Softmax", 6.0, -20.0)
    seen = calibrate(graph, cases)[graph.nodes[-1].inputs[0] or ""]
    low, high = kept(graph, cases)
    assert low > 0.85 * seen.low
    assert high == seen.high
    assert seen.rows is not None
    assert low <= seen.rows.max(axis=1).min()


def test_what_somebody_else_reads_is_kept() -> None:
    """An output of the network, or a second reader, needs the whole range."""
    graph, cases = through("HardSwish", 5.0, 0.0)
    hidden = graph.nodes[-1].inputs[0] or ""
    wider = graph.with_nodes(graph.nodes)
    object.__setattr__(wider, "outputs", (*graph.outputs, hidden))
    whole = calibrate(graph, cases)[hidden].range
    assert tuple(kept(wider, cases)) == pytest.approx(tuple(whole))


def test_channels_of_a_layer_norm_come_to_like_ranges() -> None:
    rng = np.random.default_rng(0)
    gain = (10.0 ** rng.uniform(-1.5, 0.5, 16)).astype(np.float32)
    constants = {
        "gain": gain,
        "offset": gain * rng.normal(0, 0.3, 16).astype(np.float32),
        "w": (rng.normal(0, 1, (12, 16)) / gain).astype(np.float32),
    }
    nodes = [
        node("LayerNormalization", ["x", "gain", "offset"], ["n"], axis=-1),
        node("Gemm", ["n", "w"], ["y"], transB=1),
    ]
    graph = import_onnx(model(nodes, {"x": [5, 16]}, constants), "net")
    cases, test = inputs(graph, 48, 0), inputs(graph, 16, 1)
    made = prepare(graph, cases).graph
    for case in test:
        want, got = run_float(graph, case)[0], run_float(made, case)[0]
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
    figures = [
        compare_layers(graph, quantize(graph, cases, equalize=on), test)[-1].sqnr_db
        for on in (True, False)
    ]
    assert figures[0] > figures[1] + 3


def test_a_layer_norm_without_gain_gets_one() -> None:
    rng = np.random.default_rng(1)
    constants = {
        "gain": np.ones(8, np.float32),
        "w": (rng.normal(0, 1, (4, 8)) * 10.0 ** rng.uniform(-2, 0, 8)).astype(np.float32),
    }
    nodes = [
        node("LayerNormalization", ["x", "gain"], ["n"], axis=-1),
        node("Gemm", ["n", "w"], ["y"], transB=1),
    ]
    graph = import_onnx(model(nodes, {"x": [3, 8]}, constants), "net")
    bare = graph.with_nodes(
        [type(one)(one.name, one.op, one.inputs[:1], one.outputs) if one.op.name == "layer_norm"
         else one for one in graph.nodes],
        [constant("unused", np.zeros(1, np.float32))],
    )  # fmt: skip
    cases = inputs(bare, 16, 0)
    made = prepare(bare, cases).graph
    np.testing.assert_allclose(
        run_float(made, cases[0])[0], run_float(bare, cases[0])[0], rtol=1e-4, atol=1e-4
    )
    assert any(len(one.inputs) == 2 for one in made.nodes if one.op.name == "layer_norm")


@pytest.mark.parametrize("hidden", [-20.0, -1e4, -1e9, float(np.finfo(np.float32).min)])
def test_masks_that_are_inputs_leave_scores_their_levels(hidden: float) -> None:
    """What hides a score may be as low as files and callers like."""
    nodes = [
        node("MatMul", ["q", "k"], ["s"]),
        node("Add", ["s", "mask"], ["masked"]),
        node("Softmax", ["masked"], ["w"], axis=-1),
        node("MatMul", ["w", "v"], ["y"]),
    ]
    shapes = {"q": [1, 6, 4], "k": [1, 4, 6], "v": [1, 6, 3], "mask": [1, 1, 6]}
    graph = import_onnx(model(nodes, shapes), "net")
    rng = np.random.default_rng(0)

    def case() -> list[Array]:
        allowed = rng.random((1, 1, 6)) < 0.6
        allowed[..., 0] = True
        mask = np.where(allowed, 0, hidden).astype(np.float32)
        others = [rng.normal(0, 1, shapes[name]).astype(np.float32) for name in "qkv"]
        return [*others, mask]

    quantised, test = quantize(graph, [case() for _ in range(32)]), [case() for _ in range(32)]
    assert compare_layers(graph, quantised, test)[-1].sqnr_db > 22
