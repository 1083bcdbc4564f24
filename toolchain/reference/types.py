"""Types of float graphs: every operator's own rules, with float32 in the place of int8."""

from __future__ import annotations

from dataclasses import replace

from toolchain.errors import ModelError
from toolchain.ir import DType, Graph, Operands, Quant, Tensor
from toolchain.ops import Dequantize, Op, Quantize
from toolchain.ops.base import TensorType

_ANY_SCALE = Quant.per_tensor(1.0)


def infer_float(op: Op, operands: Operands) -> tuple[TensorType, ...]:
    """Return the types of the outputs of ``op`` on float32 operands.

    The shapes that an operator accepts do not depend on the element type, so it is asked about
    int8 tensors of these shapes.

    Raises:
        ModelError: E206 if the operands are not legal for this operator.
    """
    inputs = tuple(None if x is None else _as_int8(x, _ANY_SCALE) for x in operands.inputs)
    outputs = tuple(_as_int8(y, None) for y in operands.outputs)
    types = op.infer(Operands(inputs, outputs))
    return tuple(
        TensorType(made.shape, DType.FLOAT32 if made.dtype is DType.INT8 else made.dtype)
        for made in types
    )


def _as_int8(tensor: Tensor, quant: Quant | None) -> Tensor:
    if tensor.dtype is not DType.FLOAT32:
        return tensor
    return replace(tensor, dtype=DType.INT8, quant=quant)


def verify_float(graph: Graph) -> Graph:
    """Check a float graph and return it unchanged.

    Raises:
        ModelError: E205 if an edge is not made before it is read or has another type than its
            node infers, E206 if an operator does not accept its operands.
    """
    ready = {*graph.inputs, *(n for n, t in graph.tensors.items() if t.is_constant)}
    for node in graph.nodes:
        operands, where = graph.operands(node), f'node "{node.name}" ({node.op.name})'
        if isinstance(node.op, Quantize | Dequantize):
            raise ModelError("E205", "a float graph holds no conversions", where=where)
        missing = [name for name in node.inputs if name is not None and name not in ready]
        if missing:
            raise ModelError("E205", f'reads "{missing[0]}" before it is made', where=where)
        declared = tuple(TensorType(y.shape, y.dtype) for y in operands.outputs)
        if infer_float(node.op, operands) != declared:
            raise ModelError("E205", "its outputs are not of the inferred types", where=where)
        ready.update(node.outputs)
    if not set(graph.outputs) <= ready:
        raise ModelError("E205", "a graph output is never made")
    return graph
