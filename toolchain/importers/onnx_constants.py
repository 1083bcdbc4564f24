"""Constants that an ONNX file computes: shapes, casts, dequantised weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from toolchain.importers.onnx_builder import UnsupportedError
from toolchain.ir import Array, Quant

_MAX_ELEMENTS = 2**27
# Computed by the reference evaluator where every input is constant.
FOLDABLE = frozenset(
    {
        "Abs",
        "Add",
        "And",
        "Cast",
        "Ceil",
        "Concat",
        "ConstantOfShape",
        "Cos",
        "CumSum",
        "Div",
        "Einsum",
        "Equal",
        "Exp",
        "Expand",
        "Flatten",
        "Floor",
        "Gather",
        "GatherElements",
        "GatherND",
        "Greater",
        "GreaterOrEqual",
        "Identity",
        "IsInf",
        "IsNaN",
        "Less",
        "LessOrEqual",
        "Log",
        "MatMul",
        "Max",
        "Min",
        "Mod",
        "Mul",
        "Neg",
        "Not",
        "Or",
        "Pow",
        "Range",
        "Reciprocal",
        "ReduceMax",
        "ReduceMean",
        "ReduceMin",
        "ReduceProd",
        "ReduceSum",
        "Reshape",
        "Round",
        "ScatterND",
        "Shape",
        "Sigmoid",
        "Sign",
        "Sin",
        "Slice",
        "Split",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Tanh",
        "Tile",
        "Transpose",
        "Trilu",
        "Unsqueeze",
        "Where",
    }
)
_GROWING = {"ConstantOfShape": 0, "Expand": 1}


def fold(proto: Any, opset: int, inputs: Sequence[Array | None]) -> list[Array]:
    """Return the outputs of a node whose inputs are all constant.

    Raises:
        UnsupportedError: if it cannot be computed or its result is too large.
    """
    from onnx import TensorProto, helper
    from onnx.reference import ReferenceEvaluator

    _check_growth(proto, inputs)
    known = {n: v for n, v in zip(proto.input, inputs, strict=True) if n and v is not None}
    made = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
        for n, v in known.items()
    ]
    outputs = [helper.make_tensor_value_info(n, TensorProto.UNDEFINED, None) for n in proto.output]
    graph = helper.make_graph([proto], "fold", made, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    results = ReferenceEvaluator(model).run(None, known)
    return [np.asarray(result) for result in results]


def _check_growth(proto: Any, inputs: Sequence[Array | None]) -> None:
    values = [value for value in inputs if value is not None]
    if proto.op_type in _GROWING:
        sizes = values[_GROWING[proto.op_type]].reshape(-1).tolist()
        size = math.prod(max(int(n), 1) for n in sizes)
    elif proto.op_type == "Tile":
        size = values[0].size * math.prod(max(int(n), 1) for n in values[1].reshape(-1).tolist())
    elif proto.op_type == "Range":
        start, limit, step = (float(value.reshape(-1)[0]) for value in values)
        size = int(abs((limit - start) / step)) if step else _MAX_ELEMENTS + 1
    else:
        return
    if size > _MAX_ELEMENTS:
        raise UnsupportedError(f"a constant of {size} elements")


def dequantized(
    values: Array, scale: Array, zero: Array | None, axis: int
) -> tuple[Array, Quant | None]:
    """Return the real values of a quantised constant, and its quantisation if it is symmetric.

    Args:
        values: int8, uint8 or int32.
        scale: one, or one per slice along ``axis``.
        zero: zero points, as many; 0 if absent.
        axis: the axis of the scales.
    """
    shape = [1] * values.ndim
    if scale.size > 1:
        shape[axis] = -1
    points = np.zeros_like(scale) if zero is None else zero.astype(np.float64)
    centred = values.astype(np.float64) - points.reshape(shape)
    real = (centred * scale.astype(np.float64).reshape(shape)).astype(np.float32)
    if values.dtype != np.int8 or points.any():
        return real, None
    scales = tuple(float(np.float32(s)) for s in scale.reshape(-1))
    return real, Quant(scales, (0,) * len(scales), axis if scale.size > 1 else None)
