"""GELU, layer normalisation, products of matrices and attention, however a file spells them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.formats.onnx_graphs import helper, model
from tests.formats.test_onnx import Rng, assert_equals_onnxruntime, weights
from toolchain.errors import ModelError
from toolchain.importers.onnx import import_onnx
from toolchain.ops import BatchMatMul, Gelu, LayerNorm, Softmax

node = helper.make_node
Nodes = list[Any]


def scalar(value: float) -> Any:
    return np.array(value, np.float32)


CONSTANTS = {
    "half": scalar(0.5),
    "one": scalar(1.0),
    "two": scalar(2.0),
    "three": scalar(3.0),
    "root2": scalar(math.sqrt(2)),
    "root_half": scalar(math.sqrt(0.5)),
    "cubic": scalar(0.044715),
    "factor": scalar(math.sqrt(2 / math.pi)),
}


def erf_by_division() -> Nodes:
    """PyTorch's exporter."""
    return [
        node("Div", ["x", "root2"], ["a"]),
        node("Erf", ["a"], ["b"]),
        node("Add", ["b", "one"], ["c"]),
        node("Mul", ["x", "c"], ["d"]),
        node("Mul", ["d", "half"], ["y"]),
    ]


def erf_halved_inside() -> Nodes:
    """tf2onnx: the distribution function first."""
    return [
        node("Mul", ["x", "root_half"], ["a"]),
        node("Erf", ["a"], ["b"]),
        node("Mul", ["b", "half"], ["c"]),
        node("Add", ["half", "c"], ["d"]),
        node("Mul", ["d", "x"], ["y"]),
    ]


def erf_of_half_of_x() -> Nodes:
    return [
        node("Mul", ["x", "half"], ["h"]),
        node("Div", ["x", "root2"], ["a"]),
        node("Erf", ["a"], ["b"]),
        node("Add", ["one", "b"], ["c"]),
        node("Mul", ["h", "c"], ["y"]),
    ]


def tanh_of_a_cube() -> Nodes:
    return [
        node("Pow", ["x", "three"], ["p"]),
        node("Mul", ["p", "cubic"], ["q"]),
        node("Add", ["x", "q"], ["r"]),
        node("Mul", ["r", "factor"], ["s"]),
        node("Tanh", ["s"], ["t"]),
        node("Add", ["t", "one"], ["u"]),
        node("Mul", ["x", "u"], ["v"]),
        node("Mul", ["v", "half"], ["y"]),
    ]


def tanh_of_nested_products() -> Nodes:
    """``x * factor * (1 + cubic * x * x)``."""
    return [
        node("Mul", ["x", "x"], ["p"]),
        node("Mul", ["p", "cubic"], ["q"]),
        node("Add", ["q", "one"], ["r"]),
        node("Mul", ["x", "factor"], ["f"]),
        node("Mul", ["f", "r"], ["s"]),
        node("Tanh", ["s"], ["t"]),
        node("Add", ["t", "one"], ["u"]),
        node("Mul", ["x", "half"], ["h"]),
        node("Mul", ["h", "u"], ["y"]),
    ]


GELUS = [
    (erf_by_division, False),
    (erf_halved_inside, False),
    (erf_of_half_of_x, False),
    (tanh_of_a_cube, True),
    (tanh_of_nested_products, True),
]


@pytest.mark.parametrize(("spell", "approximate"), GELUS, ids=lambda v: getattr(v, "__name__", ""))
def test_gelu_is_one_operator(spell: Callable[[], Nodes], approximate: bool) -> None:
    graph = assert_equals_onnxruntime(model(spell(), {"x": [2, 5, 7]}, CONSTANTS))
    assert [one.op for one in graph.nodes] == [Gelu(approximate)]


def test_gelu_of_a_sum_is_one_operator_behind_it() -> None:
    """The sum is not multiplied out, though it could be."""
    nodes = [node("Add", ["z", "one"], ["x"]), *erf_by_division()]
    graph = assert_equals_onnxruntime(model(nodes, {"z": [1, 5]}, CONSTANTS))
    assert [one.op.name for one in graph.nodes] == ["add", "gelu"]


def test_what_only_looks_like_gelu_stays_as_it_is() -> None:
    for name in ("half", "root2", "one"):
        constants = {**CONSTANTS, name: scalar(1.2)}
        graph = assert_equals_onnxruntime(model(erf_by_division(), {"x": [2, 5]}, constants))
        assert "gelu" not in [one.op.name for one in graph.nodes]


def test_the_operator_gelu_equals_onnxruntime() -> None:
    for approximate in ("none", "tanh"):
        layer = node("Gelu", ["x"], ["y"], approximate=approximate)
        graph = assert_equals_onnxruntime(model([layer], {"x": [2, 5, 7]}, opset=20))
        assert [one.op for one in graph.nodes] == [Gelu(approximate == "tanh")]


def spelled_norm(rng: Rng, axes: list[int], shape: list[int]) -> bytes:
    """Return layer normalisation as PyTorch's exporter wrote it before opset 17."""
    kept = [shape[a] if a in {x % len(shape) for x in axes} else 1 for a in range(len(shape))]
    constants = {
        **CONSTANTS,
        "epsilon": scalar(rng.choice([1e-5, 1e-2])),
        "gain": weights(rng, *kept) + 1,
        "offset": weights(rng, *kept),
    }
    square = node("Pow", ["d", "two"], ["q"])
    if rng.random() < 0.5:
        square = node("Mul", ["d", "d"], ["q"])
    scaled = [node("Div", ["d", "s"], ["n"])]
    if rng.random() < 0.5:
        scaled = [node("Reciprocal", ["s"], ["i"]), node("Mul", ["i", "d"], ["n"])]
    nodes = [
        node("ReduceMean", ["x"], ["m"], axes=axes, keepdims=1),
        node("Sub", ["x", "m"], ["d"]),
        square,
        node("ReduceMean", ["q"], ["v"], axes=axes, keepdims=1),
        node("Add", ["v", "epsilon"], ["e"]),
        node("Sqrt", ["e"], ["s"]),
        *scaled,
        node("Mul", ["n", "gain"], ["g"]),
        node("Add", ["g", "offset"], ["y"]),
    ]
    return model(nodes, {"x": shape}, constants)


def test_spelled_layer_normalisation_is_one_operator() -> None:
    for seed in range(12):
        rng = np.random.default_rng(seed)
        graph = assert_equals_onnxruntime(spelled_norm(rng, [-1], [2, 5, 6]), seed)
        assert [(type(one.op), len(one.inputs)) for one in graph.nodes] == [(LayerNorm, 3)]


@pytest.mark.parametrize("axes", [[1], [1, 2, 3], [-3, -1], [2, 3]])
def test_layer_normalisation_of_any_axes(axes: list[int]) -> None:
    graph = assert_equals_onnxruntime(spelled_norm(np.random.default_rng(0), axes, [2, 3, 4, 5]))
    names = [one.op.name for one in graph.nodes]
    assert "layer_norm" in names
    assert not {"rsqrt", "mean"} & set(names)


def random_layer_norm(rng: Rng) -> bytes:
    shape = [int(n) for n in rng.integers(1, 6, 4)]
    axis = int(rng.integers(-4, 4))
    names = ["x", "gain"] + (["offset"] if rng.random() < 0.7 else [])
    layer = node("LayerNormalization", names, ["y"], axis=axis, epsilon=float(rng.uniform(0.01, 1)))
    constants = {name: weights(rng, *shape[axis % 4 :]) for name in names[1:]}
    return model([layer], {"x": shape}, constants)


def random_matmul(rng: Rng) -> bytes:
    """Return products of matrices: both computed, or one a stack of constant ones."""
    batch = [int(n) for n in rng.integers(1, 4, int(rng.integers(0, 3)))]
    rows, depth, columns = (int(n) for n in rng.integers(1, 7, 3))
    a = [*(n if rng.random() < 0.8 else 1 for n in batch), rows, depth]
    b = [*batch[int(rng.integers(len(batch) + 1)) :], depth, columns]
    layer, inputs = node("MatMul", ["a", "b"], ["y"]), {"a": a, "b": b}
    known = str(rng.choice(["a", "b", "neither"]))
    constants = {known: weights(rng, *inputs.pop(known))} if known in inputs else {}
    return model([layer], inputs, constants)


def random_gemm(rng: Rng) -> bytes:
    flags = {"transA": int(rng.integers(2)), "transB": int(rng.integers(2))}
    a = (3, 4) if flags["transA"] else (4, 3)
    b = (5, 3) if flags["transB"] else (3, 5)
    layer = node(
        "Gemm", ["a", "b", "c"], ["y"], alpha=0.7, beta=float(rng.uniform(0.5, 2)), **flags
    )
    return model(
        [layer], {"a": a, "b": b}, {"c": weights(rng, *[(5,), (4, 1), ()][rng.integers(3)])}
    )


@pytest.mark.parametrize("generate", [random_layer_norm, random_matmul, random_gemm])
def test_random_operators_equal_onnxruntime(generate: Callable[[Rng], bytes]) -> None:
    for seed in range(60):
        assert_equals_onnxruntime(generate(np.random.default_rng(seed)), seed)


def test_scales_of_attention_are_in_its_softmax() -> None:
    """Both ways to scale the scores; the keys are read as they lie."""
    constants = {"scale": scalar(0.25), "root": scalar(2.0)}
    nodes = [
        node("Mul", ["q", "scale"], ["a"]),
        node("Transpose", ["k"], ["t"], perm=[0, 2, 1]),
        node("Mul", ["t", "scale"], ["b"]),
        node("MatMul", ["a", "b"], ["c"]),
        node("Div", ["c", "root"], ["d"]),
        node("Softmax", ["d"], ["e"], axis=-1),
        node("MatMul", ["e", "v"], ["y"]),
    ]
    shape = [2, 5, 4]
    graph = assert_equals_onnxruntime(model(nodes, dict.fromkeys("qkv", shape), constants))
    ops = [one.op for one in graph.nodes]
    assert ops == [BatchMatMul(False, True), Softmax(0.25 * 0.25 / 2), BatchMatMul()]


def test_scores_that_others_read_keep_their_scale() -> None:
    nodes = [
        node("MatMul", ["q", "k"], ["c"]),
        node("Mul", ["c", "half"], ["d"]),
        node("Softmax", ["d"], ["e"], axis=-1),
        node("Add", ["d", "e"], ["y"]),
    ]
    data = model(nodes, {"q": [2, 5, 4], "k": [2, 4, 5]}, CONSTANTS)
    ops = [one.op.name for one in assert_equals_onnxruntime(data).nodes]
    assert ops == ["batch_matmul", "mul", "softmax", "add"]


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (node("MatMul", ["x", "v"], ["y"]), "of a vector"),
        (node("LayerNormalization", ["x", "v"], ["y", "mean"]), "mean or deviation"),
    ],
)
def test_other_uses_are_refused(layer: Any, why: str) -> None:
    data = model([layer], {"x": [3, 4]}, {"v": np.ones(4, np.float32)})
    with pytest.raises(ModelError, match=why):
        import_onnx(data, "net")
