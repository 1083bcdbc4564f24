"""Integer operators that no TFLite runtime has, against onnxruntime on real numbers."""

from __future__ import annotations

import numpy as np
import pytest

from tests.formats.onnx_graphs import helper, model, onnx, truth
from tests.ops.harness import CASES, random_values
from tests.ops.test_erf import random_erf
from tests.ops.test_function import random_function
from tests.ops.test_layer_norm import norm_of
from toolchain.ir import Array, DType, Graph, Tensor, run
from toolchain.ops import Function, LayerNorm


def real(tensor: Tensor, values: Array) -> Array:
    return (values.astype(np.float64) - tensor.zero_point) * tensor.scale


def codes(tensor: Tensor, values: Array) -> Array:
    """Return real values on the scale of ``tensor``, not rounded."""
    exact = values.astype(np.float64) / tensor.scale + tensor.zero_point
    return np.asarray(np.clip(exact, *tensor.dtype.limits))


def norm_file(graph: Graph) -> bytes:
    """Return the layer normalisation of ``graph`` as an ONNX file, in double precision.

    In float32 onnxruntime's variance loses the digits of nearly equal elements.
    """
    (made,), (x,) = graph.nodes, graph.input_tensors
    assert isinstance(made.op, LayerNorm)
    given = [*(graph.tensors[n].values if n else None for n in made.inputs[1:]), None, None]
    constants = {
        name: np.broadcast_to(default if values is None else values, x.shape[-1:]).astype(float)
        for name, values, default in zip(("gain", "offset"), given, (1, 0), strict=False)
    }
    names = ["x", *constants]
    layer = helper.make_node("LayerNormalization", names, ["y"], epsilon=made.op.epsilon)
    proto = onnx.ModelProto.FromString(model([layer], {"x": x.shape}, constants))
    for port in (*proto.graph.input, *proto.graph.output):
        port.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    return bytes(proto.SerializeToString())


@pytest.mark.parametrize(("dtype", "allowed"), [(DType.INT8, 0.51), (DType.INT16, 0.6)])
def test_layer_normalisation(dtype: DType, allowed: float) -> None:
    compared = 0
    for seed in range(CASES):
        rng = np.random.default_rng(seed)
        graph = norm_of(rng, dtype)
        (x,), (y,) = graph.input_tensors, graph.output_tensors
        values = random_values(x, rng)
        if np.ptp(values.astype(int), axis=-1).min() == 0:
            continue  # the differences of equal real numbers are noise, which is divided by nothing
        compared += 1
        (want,) = truth(norm_file(graph), [real(x, values)])
        (got,) = run(graph, [values])
        assert np.abs(got - codes(y, want)).max() <= allowed, f"seed {seed}: {graph.nodes}"
    assert compared > CASES // 2


SPELLED: dict[str, tuple[str, tuple[str, ...]]] = {
    "arc_tangent": ("Atan", ()),
    "ceiling": ("Ceil", ()),
    "cosine": ("Cos", ()),
    "floor": ("Floor", ()),
    "mish": ("Mish", ()),
    "round": ("Round", ()),
    "shrink": ("Shrink", ("lambd", "bias")),
    "sign": ("Sign", ()),
    "sine": ("Sin", ()),
    "softsign": ("Softsign", ()),
}


def function_file(op: Function, shape: tuple[int, ...]) -> bytes:
    """Return a function of one element in ONNX's own operators."""
    if op.kind in SPELLED:
        kind, names = SPELLED[op.kind]
        extra = dict(zip(names, op.parameters, strict=True))
        return model([helper.make_node(kind, ["x"], ["y"], **extra)], {"x": shape}, opset=18)
    given = {name: np.float32(value) for name, value in zip("abc", op.parameters, strict=False)}
    given |= {"one": np.float32(1), "minus": np.float32(-1)}
    lines = {
        "exponential_linear": "n=Min(x,zero) r=Mul(n,c) e=Exp(r) m=Sub(e,one) s=Mul(m,a) "
        "p=Max(x,zero) t=Add(p,s) y=Mul(t,b)",
        "exponential_minus_one": "e=Exp(x) y=Sub(e,one)",
        "log_one_plus": "s=Add(x,one) y=Log(s)",
        "log_sigmoid": "n=Neg(x) s=Softplus(n) y=Neg(s)",
        "power": "y=Pow(x,a)",
        "softplus": "m=Mul(x,a) s=Softplus(m) y=Div(s,a)",
        "tanh_shrink": "t=Tanh(x) y=Sub(x,t)",
        "threshold": "c=Greater(x,a) y=Where(c,x,b)",
    }[op.kind]
    nodes = []
    for line in lines.split():
        made, _, call = line.partition("=")
        kind, _, names = call.rstrip(")").partition("(")
        nodes.append(helper.make_node(kind, names.split(","), [made]))
    return model(nodes, {"x": shape}, {**given, "zero": np.float32(0)})


def test_functions_by_name() -> None:
    for seed in range(CASES):
        rng = np.random.default_rng(seed)
        graph = random_function(rng)
        (x,), (y,), (made,) = graph.input_tensors, graph.output_tensors, graph.nodes
        assert isinstance(made.op, Function)
        values = random_values(x, rng)
        (want,) = truth(function_file(made.op, x.shape), [real(x, values).astype(np.float32)])
        exact = codes(y, np.nan_to_num(want.astype(np.float64), posinf=1e9, neginf=-1e9))
        assert np.abs(run(graph, [values])[0] - exact).max() <= 0.51, f"seed {seed}: {made.op}"


def test_error_function() -> None:
    for seed in range(CASES):
        rng = np.random.default_rng(seed)
        graph = random_erf(rng)
        (x,), (y,) = graph.input_tensors, graph.output_tensors
        values = random_values(x, rng)
        file = model([helper.make_node("Erf", ["x"], ["y"])], {"x": x.shape})
        (want,) = truth(file, [real(x, values).astype(np.float32)])
        assert np.abs(run(graph, [values])[0] - codes(y, want)).max() <= 0.51, f"seed {seed}"
