"""Every ONNX operator that is read, on random cases, against onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from tests.formats import onnx_operators as others
from tests.formats import test_onnx as maps
from tests.formats import test_onnx_attention as attention
from tests.formats import test_onnx_transformer as transformer
from tests.formats.onnx_graphs import helper, model, onnx
from tests.formats.onnx_operators import axis_of, shape_of
from tests.formats.test_onnx import Rng, assert_equals_onnxruntime, weights
from toolchain.importers.onnx import READERS

node = helper.make_node
Generator = Callable[[Rng], bytes]
CASES = 20
# These have random cases in tests of their own.
ELSEWHERE = {"GRU", "LSTM"}


def unary(
    kind: str, positive: bool = False, opset: int = 17, **bounds: tuple[float, float]
) -> Generator:
    """Return the generator of a function of one element, with random attributes in ``bounds``."""

    def make(rng: Rng) -> bytes:
        extra = {name: float(rng.uniform(*span)) for name, span in bounds.items()}
        nodes = [node(kind, ["x"], ["y"], **extra)]
        if positive:
            nodes = [
                node("Mul", ["z", "z"], ["q"]),
                node("Add", ["q", "least"], ["x"]),
                *nodes,
            ]
        constants = {"least": np.float32(0.3)} if positive else {}
        return model(nodes, {"z" if positive else "x": shape_of(rng)}, constants, opset=opset)

    return make


def binary(kind: str, constant: bool = False) -> Generator:
    """Return the generator of an operator of two inputs that broadcast; one may be constant."""

    def make(rng: Rng) -> bytes:
        shape = shape_of(rng)
        other = [n if rng.random() < 0.6 else 1 for n in shape[int(rng.integers(len(shape))) :]]
        known = constant or rng.random() < 0.5
        inputs = {"a": shape} if known else {"a": shape, "b": other}
        values = np.abs(weights(rng, *other)) + np.float32(0.2)
        order = ["a", "b"] if constant or rng.random() < 0.5 else ["b", "a"]
        return model([node(kind, order, ["y"])], inputs, {"b": values} if known else {})

    return make


def divided(rng: Rng) -> bytes:
    """Return a quotient, by a constant or by something positive that is computed."""
    if rng.random() < 0.5:
        return binary("Div", constant=True)(rng)
    nodes = [
        node("Mul", ["b", "b"], ["q"]),
        node("Add", ["q", "least"], ["p"]),
        node("Div", [str(rng.choice(["a", "least"])), "p"], ["z"]),
        node("Add", ["z", "a"], ["y"]),
    ]
    return model(nodes, {"a": [2, 3, 4], "b": [3, 1]}, {"least": np.float32(0.3)})


def many(kind: str) -> Generator:
    def make(rng: Rng) -> bytes:
        shape, names = shape_of(rng), [f"x{i}" for i in range(int(rng.integers(1, 4)))]
        doubled = [node("Mul", ["x0", "two"], ["d"]), node(kind, [*names, "d"], ["y"])]
        return model(doubled, dict.fromkeys(names, shape), {"two": np.float32(2)})

    return make


def along(kind: str, opset: int = 17, **extra: Any) -> Generator:
    def make(rng: Rng) -> bytes:
        shape = shape_of(rng)
        layer = node(kind, ["x"], ["y"], axis=axis_of(rng, shape), **extra)
        return model([layer], {"x": shape}, opset=opset)

    return make


def softmax(kind: str) -> Generator:
    """Return the generator of softmax in its old meaning and in its new one."""
    return lambda rng: along(kind, int(rng.choice([11, 17])))(rng)


def clip(rng: Rng) -> bytes:
    low, high = sorted(rng.uniform(-3, 3, 2))
    if rng.random() < 0.3:
        low, high = 0, 6
    names = ["low", "high"] if rng.random() < 0.6 else [["low", ""], ["", "high"]][rng.integers(2)]
    constants = {"low": np.float32(low), "high": np.float32(high)}
    used = {name: constants[name] for name in names if name}
    return model([node("Clip", ["x", *names], ["y"])], {"x": shape_of(rng)}, used)


def power(rng: Rng) -> bytes:
    exponent = float(rng.choice([1, 2, 3, 4, 0.5, -0.5, 1.7, -2]))
    nodes = [
        node("Mul", ["x", "x"], ["q"]),
        node("Add", ["q", "least"], ["p"]),
        node("Pow", ["p", "e"], ["y"]),
    ]
    constants = {"least": np.float32(0.3), "e": np.float32(exponent)}
    return model(nodes, {"x": shape_of(rng)}, constants)


def reciprocal(rng: Rng) -> bytes:
    nodes = [
        node("Mul", ["x", "x"], ["q"]),
        node("Add", ["q", "least"], ["p"]),
        node("Sqrt", ["p"], ["s"]),
        node("Reciprocal", [str(rng.choice(["p", "s"]))], ["r"]),
        node("Add", ["r", "s"], ["y"]),
    ]
    return model(nodes, {"x": shape_of(rng)}, {"least": np.float32(0.3)})


def batch_normalization(rng: Rng) -> bytes:
    shape = shape_of(rng, int(rng.integers(2, 5)))
    names = ["gamma", "beta", "mean", "variance"]
    constants = {name: weights(rng, shape[1]) for name in names}
    constants["variance"] = np.abs(constants["variance"]) + np.float32(0.1)
    layer = node("BatchNormalization", ["x", *names], ["y"], epsilon=float(rng.uniform(0, 0.1)))
    return model([layer], {"x": shape}, constants)


def global_pool(kind: str) -> Generator:
    return lambda rng: model(
        [node(kind, ["x"], ["y"])], {"x": shape_of(rng, int(rng.integers(3, 5)))}
    )


def gather(rng: Rng) -> bytes:
    shape = shape_of(rng)
    axis = axis_of(rng, shape)
    count = shape[axis]
    first = int(rng.integers(count))
    free = rng.integers(-count, count, int(rng.integers(1, 7)))
    picked = [np.array(first), np.arange(first, count), np.array([first - count]), free, free[None]]
    chosen = picked[int(rng.integers(5))]
    return model([node("Gather", ["x", "i"], ["y"], axis=axis)], {"x": shape}, {"i": chosen})


def split(rng: Rng) -> bytes:
    shape = shape_of(rng)
    axis = axis_of(rng, shape)
    shape[axis] += 2
    sizes = np.array([1, shape[axis] - 2, 1] if shape[axis] > 2 else [1, 1])
    names = [f"y{i}" for i in range(len(sizes))]
    layer = node("Split", ["x", "sizes"], names, axis=axis)
    return model([layer], {"x": shape}, {"sizes": sizes}, outputs=names)


def squeezed(kind: str) -> Generator:
    def make(rng: Rng) -> bytes:
        shape = shape_of(rng, 4)
        axis = axis_of(rng, shape)
        shape[axis] = 1
        constants = {"axes": np.array([axis])}
        return model([node(kind, ["x", "axes"], ["y"])], {"x": shape}, constants)

    return make


def reshape(rng: Rng) -> bytes:
    shape = shape_of(rng, 3)
    wanted = [[-1, shape[2]], [0, -1], [0, 0, 1, -1], [shape[1], -1, 1, shape[0]]]
    to = np.array(wanted[int(rng.integers(4))])
    return model([node("Reshape", ["x", "to"], ["y"])], {"x": shape}, {"to": to})


def upsample(rng: Rng) -> bytes:
    scales = np.array([1, 1, *rng.integers(1, 4, 2)], np.float32)
    layer = node("Upsample", ["x", "scales"], ["y"], mode="nearest")
    return model([layer], {"x": shape_of(rng, 4)}, {"scales": scales}, opset=9)


def gelu(rng: Rng) -> bytes:
    how = str(rng.choice(["none", "tanh"]))
    return model([node("Gelu", ["x"], ["y"], approximate=how)], {"x": shape_of(rng)}, opset=20)


def through(kind: str, **extra: Any) -> Generator:
    """Return the generator of an operator that changes nothing, between two that do."""

    def make(rng: Rng) -> bytes:
        nodes = [
            node("Neg", ["x"], ["a"]),
            node(kind, ["a"], ["b"], **extra),
            node("Neg", ["b"], ["y"]),
        ]
        return model(nodes, {"x": shape_of(rng)})

    return make


def rounded(rng: Rng) -> bytes:
    """Return a product of a tensor and a matrix, all three rounded to 8 bits by the file."""
    kind = rng.choice([np.int8, np.uint8])
    limits = np.iinfo(kind)
    constants = {
        "s": np.float32(rng.uniform(0.01, 0.1)),
        "z": kind(rng.integers(limits.min, limits.max + 1)),
        "wq": rng.integers(-127, 128, (6, 5), dtype=np.int8),
        "ws": rng.uniform(0.001, 0.02, 5).astype(np.float32),
        "wz": np.zeros(5, np.int8),
    }
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        node("DequantizeLinear", ["wq", "ws", "wz"], ["w"], axis=1),
        node("MatMul", ["xd", "w"], ["a"]),
        node("QuantizeLinear", ["a", "s", "z"], ["aq"]),
        node("DequantizeLinear", ["aq", "s", "z"], ["y"]),
    ]
    return model(nodes, {"x": [20, 6]}, constants)


GENERATORS: Mapping[str, Generator] = {
    "Abs": unary("Abs"),
    "Add": binary("Add"),
    "ArgMax": others.arg_extreme("ArgMax"),
    "ArgMin": others.arg_extreme("ArgMin"),
    "Atan": unary("Atan"),
    "Attention": attention.random_attention,
    "AveragePool": maps.random_pool,
    "BatchNormalization": batch_normalization,
    "Cast": through("Cast", to=1),
    "Ceil": unary("Ceil"),
    "Celu": unary("Celu", alpha=(0.3, 2)),
    "Clip": clip,
    "Concat": maps.random_move,
    "Conv": maps.random_conv,
    "ConvTranspose": maps.random_conv_transpose,
    "Cos": unary("Cos"),
    "CumSum": others.cumulative,
    "DepthToSpace": others.blocks("DepthToSpace"),
    "DequantizeLinear": rounded,
    "Div": divided,
    "Dropout": through("Dropout"),
    "Einsum": others.einsum,
    "Elu": unary("Elu", alpha=(0.3, 2)),
    "Erf": unary("Erf"),
    "Exp": unary("Exp"),
    "Expand": attention.random_where,
    "Floor": unary("Floor"),
    "Flatten": along("Flatten"),
    "Gather": gather,
    "Gelu": gelu,
    "Gemm": transformer.random_gemm,
    "GlobalAveragePool": global_pool("GlobalAveragePool"),
    "GlobalMaxPool": global_pool("GlobalMaxPool"),
    "GroupNormalization": others.normalised("GroupNormalization"),
    "HardSigmoid": unary("HardSigmoid", alpha=(0.1, 0.5), beta=(0.2, 0.8)),
    "HardSwish": unary("HardSwish"),
    "Identity": through("Identity"),
    "InstanceNormalization": others.normalised("InstanceNormalization"),
    "LRN": others.local_response,
    "LayerNormalization": transformer.random_layer_norm,
    "LeakyRelu": unary("LeakyRelu", alpha=(0.01, 0.9)),
    "Log": unary("Log", positive=True),
    "LogSoftmax": softmax("LogSoftmax"),
    "LpNormalization": others.lp_norm,
    "MatMul": transformer.random_matmul,
    "Max": many("Max"),
    "MaxPool": maps.random_pool,
    "Min": many("Min"),
    "Mish": unary("Mish", opset=18),
    "Mul": binary("Mul"),
    "Neg": unary("Neg"),
    "PRelu": others.prelu,
    "Pad": maps.random_move,
    "Pow": power,
    "QuantizeLinear": rounded,
    "Reciprocal": reciprocal,
    "RMSNormalization": others.rms_norm,
    "ReduceL1": others.reduced("ReduceL1"),
    "ReduceL2": others.reduced("ReduceL2"),
    "ReduceMax": others.reduced("ReduceMax"),
    "ReduceMean": others.reduced("ReduceMean"),
    "ReduceMin": others.reduced("ReduceMin"),
    "ReduceSum": others.reduced("ReduceSum"),
    "ReduceSumSquare": others.reduced("ReduceSumSquare"),
    "Relu": unary("Relu"),
    "Reshape": reshape,
    "Resize": maps.random_resize,
    "Round": unary("Round"),
    "Selu": unary("Selu", alpha=(0.3, 2), gamma=(0.5, 2)),
    "Shrink": unary("Shrink", lambd=(0.1, 1), bias=(0, 1)),
    "Sigmoid": unary("Sigmoid"),
    "Sign": unary("Sign"),
    "Sin": unary("Sin"),
    "Slice": maps.random_move,
    "Softmax": softmax("Softmax"),
    "Softplus": unary("Softplus"),
    "Softsign": unary("Softsign"),
    "SpaceToDepth": others.blocks("SpaceToDepth"),
    "Split": split,
    "Sqrt": unary("Sqrt", positive=True),
    "Squeeze": squeezed("Squeeze"),
    "Sub": binary("Sub"),
    "Sum": many("Sum"),
    "Swish": unary("Swish", opset=24, alpha=(0.5, 2)),
    "Tanh": unary("Tanh"),
    "ThresholdedRelu": unary("ThresholdedRelu", alpha=(0.1, 1)),
    "Tile": others.tile,
    "TopK": others.top_one,
    "Transpose": maps.random_move,
    "Trilu": others.triangle,
    "Unsqueeze": squeezed("Unsqueeze"),
    "Upsample": upsample,
    "Where": attention.random_where,
}


def test_every_operator_has_random_cases() -> None:
    assert GENERATORS.keys() | ELSEWHERE == READERS.keys()


@pytest.mark.parametrize("kind", GENERATORS)
def test_an_operator_equals_onnxruntime(kind: str) -> None:
    held = 0
    for seed in range(CASES):
        data = GENERATORS[kind](np.random.default_rng(seed))
        held += kind in {one.op_type for one in onnx.ModelProto.FromString(data).graph.node}
        assert_equals_onnxruntime(data, seed)
    assert held >= CASES // 5
