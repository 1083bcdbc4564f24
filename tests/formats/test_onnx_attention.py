"""Attention with masks: constant ones, causal ones, and fewer heads of keys than of queries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.formats.onnx_graphs import helper, model
from tests.formats.test_onnx import Rng, assert_equals_onnxruntime
from tests.ops.on_host import run_on_host
from toolchain.errors import ModelError
from toolchain.importers.onnx import import_onnx
from toolchain.ir import Array, Graph, Tensor, run, trace
from toolchain.passes import simplify
from toolchain.quantization import compare_layers, quantize

node = helper.make_node


def random_attention(rng: Rng) -> bytes:
    """Return the operator, with maps or rows of heads, masks of either kind, or none."""
    heads = int(rng.choice([1, 2]))
    queries = heads * int(rng.choice([1, 1, 3]))
    rows, keys, depth, out = (int(n) for n in rng.integers(1, 7, 4))
    extra, constants, names = {"is_causal": int(rng.integers(2))}, {}, ["q", "k", "v"]
    shapes = {
        "q": [2, queries, rows, depth],
        "k": [2, heads, keys, depth],
        "v": [2, heads, keys, out],
    }
    if rng.random() < 0.5:
        extra |= {"q_num_heads": queries, "kv_num_heads": heads}
        shapes = {n: [a, t, h * c] for n, (a, h, t, c) in shapes.items()}
    if rng.random() < 0.5:
        extra["scale"] = float(rng.uniform(0.2, 2))
    kind = rng.choice(["none", "truth", "added"])
    allowed = rng.random((rows, keys)) < 0.7
    allowed[:, 0] = True
    if kind != "none":
        names.append("mask")
        added = np.where(allowed, rng.normal(0, 1, (rows, keys)), -np.inf).astype(np.float32)
        constants["mask"] = allowed if kind == "truth" else added
    if rng.random() < 0.3:
        extra["softcap"] = float(rng.uniform(0.5, 3))
    outputs = ["y"]
    if rng.random() < 0.3 and kind == "none":
        past = int(rng.integers(1, 4))
        shapes |= {"pk": [2, heads, past, depth], "pv": [2, heads, past, out]}
        names, outputs = [*names, "", "pk", "pv"], ["y", "keys", "values"]
    layer = node("Attention", names, outputs, **extra)
    return model([layer], shapes, constants, outputs=outputs, opset=23)


def random_where(rng: Rng) -> bytes:
    """Return choices between a tensor, its copies and constants."""
    condition = rng.random((4, 5) if rng.random() < 0.5 else (1, 5)) < 0.5
    nodes = [
        node("Expand", ["x", "shape"], ["wide"]),
        node("Where", ["c", *rng.permutation(["wide", "w"]).tolist()], ["z"]),
        node("Where", ["c", "z", "wide"], ["y"]),
    ]
    fill = rng.normal(0, 1, (4, 1)).astype(np.float32)
    constants = {"c": condition, "w": fill, "shape": np.array([2, 4, 5], np.int64)}
    shapes = [[4, 1], [2, 1, 5], [2, 4, 5], [1]]
    return model(nodes, {"x": shapes[int(rng.integers(4))]}, constants)


@pytest.mark.parametrize("fill", [-np.inf, float(np.finfo(np.float32).min), -1e9])
def test_a_spelled_out_causal_mask_is_one_sum_before_the_softmax(fill: float) -> None:
    """The triangle is computed in the file, scores are chosen or filled, as exporters do it."""
    nodes = [
        node("Trilu", ["ones", "nought"], ["low"], upper=0),
        node("Cast", ["low"], ["allowed"], to=9),
        node("MatMul", ["q", "k"], ["s"]),
        node("Mul", ["s", "scale"], ["scaled"]),
        node("Where", ["allowed", "scaled", "fill"], ["masked"]),
        node("Softmax", ["masked"], ["w"], axis=-1),
        node("IsNaN", ["w"], ["undefined"]),
        node("Where", ["undefined", "zero", "w"], ["safe"]),
        node("MatMul", ["safe", "v"], ["y"]),
    ]
    constants = {
        "ones": np.ones((6, 6), np.float32), "nought": np.array(0, np.int64),
        "scale": np.float32(0.5), "fill": np.float32(fill), "zero": np.float32(0),
    }  # fmt: skip
    inputs = {"q": [2, 6, 4], "k": [2, 4, 6], "v": [2, 6, 3]}
    graph = assert_equals_onnxruntime(model(nodes, inputs, constants))
    names = [one.op.name for one in graph.nodes]
    assert names == ["batch_matmul", "add", "softmax", "batch_matmul"]


def causal(fill: float) -> Graph:
    allowed = np.tri(8, dtype=bool)
    mask = np.where(allowed, 0, fill).astype(np.float32)
    layer = node("Attention", ["q", "k", "v", "mask"], ["y"])
    shapes = {name: [1, 2, 8, 4] for name in "qkv"}
    return import_onnx(model([layer], shapes, {"mask": mask}, opset=23), "net")


def cases(count: int, seed: int) -> list[list[Array]]:
    rng = np.random.default_rng(seed)
    return [
        [rng.normal(0, 1.5, (1, 2, 8, 4)).astype(np.float32) for _ in "qkv"] for _ in range(count)
    ]


@pytest.mark.parametrize(("activations", "least"), [("int8", 27), ("int16", 45)])
@pytest.mark.parametrize("fill", [-np.inf, -1e9, -12.0])
def test_scores_beside_a_mask_keep_their_resolution(
    fill: float, activations: str, least: float, tmp_path: Path
) -> None:
    graph = causal(fill)
    quantised = quantize(graph, cases(16, 0), activations=activations)
    errors = {e.tensor: e.sqnr_db for e in compare_layers(graph, quantised, cases(8, 1))}
    assert errors[graph.outputs[0]] > least
    codes = [rounded(t, x) for t, x in zip(quantised.input_tensors, cases(1, 2)[0], strict=True)]
    made = run_on_host(quantised, codes, tmp_path)
    np.testing.assert_array_equal(made[0], run(quantised, codes)[0])


def rounded(tensor: Tensor, x: Array) -> Array:
    """Return real values as integers of ``tensor``."""
    codes = np.clip(np.rint(x / tensor.scale) + tensor.zero_point, *tensor.dtype.limits)
    return np.asarray(codes, tensor.dtype.numpy)


@pytest.mark.parametrize("activations", ["int8", "int16"])
def test_hidden_keys_play_no_part_in_integers(activations: str) -> None:
    quantised = quantize(causal(-np.inf), cases(16, 0), activations=activations)
    (layer,) = (one for one in quantised.nodes if one.op.name == "softmax")
    (y,) = quantised.operands(layer).outputs
    hidden = np.triu(np.ones((8, 8), bool), 1)
    for case in cases(4, 1):
        given = [rounded(t, x) for t, x in zip(quantised.input_tensors, case, strict=True)]
        made = trace(quantised, given)[y.name].astype(np.float64) - y.zero_point
        assert (made * y.scale)[..., hidden].max() <= (0 if activations == "int8" else 2**-14)


@pytest.mark.parametrize(
    ("extra", "why"),
    [
        ({"q_num_heads": 3, "kv_num_heads": 1}, "3 heads"),
    ],
)
def test_other_attention_is_refused(extra: dict[str, float], why: str) -> None:
    layer = node("Attention", ["q", "q", "q"], ["y"], **extra)
    with pytest.raises(ModelError, match=why):
        import_onnx(model([layer], {"q": [1, 4, 8]}, opset=23), "net")


def test_a_row_without_keys_is_refused() -> None:
    layer = node("Attention", ["q", "q", "q", "mask"], ["y"])
    data = model(
        [layer], {"q": [1, 1, 2, 4]}, {"mask": np.eye(2, dtype=bool)[[0, 0]] < 0}, opset=23
    )
    with pytest.raises(ModelError, match="nothing to attend"):
        import_onnx(data, "net")


def test_conditions_that_are_computed_are_refused() -> None:
    layers = [node("Greater", ["x", "z"], ["c"]), node("Where", ["c", "x", "z"], ["y"])]
    with pytest.raises(ModelError, match="Greater"):
        import_onnx(model(layers, {"x": [1, 4]}, {"z": np.zeros(1, np.float32)}), "net")


@pytest.mark.parametrize("activations", ["int8", "int16"])
def test_grouped_heads_twice_in_c(activations: str, tmp_path: Path) -> None:
    """Both attentions share their kernels, of which GCC 12 -O2 dropped calls."""
    rng = np.random.default_rng(0)
    nodes, x = [], "x"
    for i in range(2):
        parts = [f"{name}{i}" for name in "qkvay"]
        for name, weight in zip(parts[:3], ("w", "u", "u"), strict=True):
            nodes.append(node("MatMul", [x, weight], [name]))
        heads = {"q_num_heads": 4, "kv_num_heads": 2, "is_causal": 1}
        nodes.append(node("Attention", parts[:3], [parts[3]], **heads))
        nodes.append(node("Add", [x, parts[3]], [parts[4]]))
        x = parts[4]
    constants = {
        "w": rng.normal(0, 0.2, (32, 32)).astype(np.float32),
        "u": rng.normal(0, 0.2, (32, 16)).astype(np.float32),
    }
    graph = import_onnx(model(nodes, {"x": [1, 12, 32]}, constants, [x], opset=23), "net")
    given = [[rng.normal(0, 1, (1, 12, 32)).astype(np.float32)] for _ in range(5)]
    quantised = simplify(quantize(graph, given, activations=activations))
    codes = [rounded(quantised.input_tensors[0], given[0][0])]
    (got,), (want,) = run_on_host(quantised, codes, tmp_path), run(quantised, codes)
    np.testing.assert_array_equal(got, want)
