"""Integer operators that no TFLite runtime has, against onnxruntime on real numbers."""

from __future__ import annotations

import numpy as np
import pytest

from tests.formats.onnx_graphs import helper, model, onnx, truth
from tests.ops.harness import CASES, random_values
from tests.ops.test_erf import random_erf
from tests.ops.test_layer_norm import norm_of
from toolchain.ir import Array, DType, Graph, Tensor, run
from toolchain.ops import LayerNorm


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


def test_error_function() -> None:
    for seed in range(CASES):
        rng = np.random.default_rng(seed)
        graph = random_erf(rng)
        (x,), (y,) = graph.input_tensors, graph.output_tensors
        values = random_values(x, rng)
        file = model([helper.make_node("Erf", ["x"], ["y"])], {"x": x.shape})
        (want,) = truth(file, [real(x, values).astype(np.float32)])
        assert np.abs(run(graph, [values])[0] - codes(y, want)).max() <= 0.51, f"seed {seed}"
