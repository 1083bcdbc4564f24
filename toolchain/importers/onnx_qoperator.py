"""ONNX operators on integers (QLinearConv and its like), spelled out as QDQ.

Every such operator is one of real numbers between conversions: inputs come as (values, scale, zero
point), the output's scale and zero point follow. Written out like that, the readers of real
operators read them all. Specifications: ONNX ``QLinearConv``, ``QLinearMatMul``; onnxruntime's
contributed operators of the domain ``com.microsoft``.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolchain.importers.onnx_builder import UnsupportedError, Value
from toolchain.ir import Array


@dataclass(frozen=True)
class _Form:
    """Where an operator's inputs lie.

    Attributes:
        kind: the operator of real numbers.
        inputs: where each triple of values, scale and zero point begins.
        output: where the output's scale lies, its zero point behind it.
        bias: where integers in the product of both inputs' scales lie, if it has them.
        axis: of the second input's scales, if there are several.
    """

    kind: str
    inputs: tuple[int, ...]
    output: int
    bias: int | None = None
    axis: int = 0


_UNARY, _BINARY = (0,), (0, 3)
FORMS: Mapping[str, _Form] = {
    "QGemm": _Form("Gemm", _BINARY, 7, bias=6, axis=1),
    "QLinearAdd": _Form("Add", _BINARY, 6),
    "QLinearAveragePool": _Form("AveragePool", _UNARY, 3),
    "QLinearConv": _Form("Conv", _BINARY, 6, bias=8),
    "QLinearGlobalAveragePool": _Form("GlobalAveragePool", _UNARY, 3),
    "QLinearLeakyRelu": _Form("LeakyRelu", _UNARY, 3),
    "QLinearMatMul": _Form("MatMul", _BINARY, 6, axis=1),
    "QLinearMul": _Form("Mul", _BINARY, 6),
    "QLinearReduceMean": _Form("ReduceMean", _UNARY, 3),
    "QLinearSigmoid": _Form("Sigmoid", _UNARY, 3),
    "QLinearSoftmax": _Form("Softmax", _UNARY, 3),
}
_CONCAT = "QLinearConcat"
OPERATORS = frozenset({*FORMS, _CONCAT})


def spelled_out(proto: Any, values: MutableMapping[str, Value]) -> list[Any]:
    """Return the nodes that stand for ``proto``: itself, unless it computes with integers.

    Args:
        proto: a node of the file.
        values: what names stand for; scales of biases are added.

    Raises:
        UnsupportedError: if a scale is not constant, or maps are channels last.
    """
    if proto.op_type not in OPERATORS:
        return [proto]
    if any(a.name == "channels_last" and a.i for a in proto.attribute):
        raise UnsupportedError("with channels last")
    form = FORMS.get(proto.op_type) or _concat_form(proto)
    names = [*proto.input, *[""] * 9]
    label = proto.output[0]
    nodes = [
        _node("DequantizeLinear", names[at : at + 3], f"{label}/{at}", axis=form.axis)
        for at in form.inputs
    ]
    if proto.op_type == "QGemm" and _transposed(proto):
        nodes[1] = _node("DequantizeLinear", names[3:6], f"{label}/3", axis=0)
    inputs = [node.output[0] for node in nodes]
    if form.bias is not None and names[form.bias]:
        nodes.append(_bias(names, form.bias, label, values))
        inputs.append(nodes[-1].output[0])
    scale, zero = names[form.output : form.output + 2]
    real = f"{label}/real" if scale else label
    nodes.append(_node(form.kind, inputs, real))
    nodes[-1].attribute.extend(proto.attribute)
    if scale:
        nodes.append(_node("QuantizeLinear", [real, scale, zero], label))
    return nodes


def _concat_form(proto: Any) -> _Form:
    return _Form("Concat", tuple(range(2, len(proto.input), 3)), 0)


def _transposed(proto: Any) -> bool:
    return any(a.name == "transB" and a.i for a in proto.attribute)


def _bias(names: list[str], at: int, label: str, values: MutableMapping[str, Value]) -> Any:
    """Return the node that dequantises a bias; add its scale to ``values``."""
    x_scale, w_scale = (_constant(values.get(names[i])) for i in (1, 4))
    scale = f"{label}/bias scale"
    values[scale] = (x_scale.astype(np.float64) * w_scale).astype(np.float32)
    return _node("DequantizeLinear", [names[at], scale], f"{label}/{at}", axis=0)


def _constant(value: Value | None) -> Array:
    if value is None or isinstance(value, str):
        raise UnsupportedError("with a scale that is computed")
    return value.reshape(-1)


def _node(kind: str, inputs: list[str], output: str, **attributes: int) -> Any:
    from onnx import helper

    while inputs and not inputs[-1]:
        inputs = inputs[:-1]
    return helper.make_node(kind, inputs, [output], None, None, None, None, **attributes)
