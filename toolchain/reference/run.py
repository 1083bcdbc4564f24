"""Run float graphs: for calibration, and as the truth that quantised graphs are held against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from toolchain.errors import UsageError
from toolchain.ir import Array, DType, Graph, Quant, Tensor
from toolchain.reference.operators import evaluate


def run_float(graph: Graph, inputs: Sequence[Array]) -> list[Array]:
    """Run a float graph on one case; see `trace_float`."""
    values = trace_float(graph, inputs)
    return [values[name] for name in graph.outputs]


def trace_float(graph: Graph, inputs: Sequence[Array]) -> Mapping[str, Array]:
    """Run a float graph on one case and return every tensor by name, constants included.

    Args:
        graph: a graph of float32 tensors.
        inputs: one float32 array per graph input, of its shape.

    Raises:
        UsageError: E126 if number, shape or type of the inputs is wrong.
    """
    if len(inputs) != len(graph.inputs):
        raise UsageError("E126", f"{len(graph.inputs)} inputs are needed, {len(inputs)} given")
    values: dict[str, Array] = {n: _constant(t) for n, t in graph.tensors.items() if t.is_constant}
    for tensor, value in zip(graph.input_tensors, inputs, strict=True):
        if value.shape != tensor.shape or value.dtype != tensor.dtype.numpy:
            raise UsageError(
                "E126",
                f"input must be {tensor.dtype.value}{list(tensor.shape)}, "
                f"not {value.dtype}{list(value.shape)}",
                where=f'input "{tensor.name}"',
            )
        values[tensor.name] = _rounded(tensor, value)
    for node in graph.nodes:
        operands = graph.operands(node)
        given = [None if name is None else values[name] for name in node.inputs]
        with np.errstate(over="ignore", invalid="ignore"):
            results = evaluate(node.op, operands, given)
        for tensor, result in zip(operands.outputs, results, strict=True):
            values[tensor.name] = _rounded(tensor, result)
    return values


def fake_quantize(values: Array, quant: Quant, dtype: DType = DType.INT8) -> Array:
    """Return float values rounded (half to even) to integers of ``quant`` and back."""
    shape = [1] * values.ndim
    if quant.axis is not None:
        shape[quant.axis] = -1
    scale = np.array(quant.scales, np.float64).reshape(shape)
    zero = np.array(quant.zero_points).reshape(shape)
    codes = np.clip(np.rint(values / scale) + zero, *dtype.limits)
    return np.asarray((codes - zero) * scale, np.float32)


def _constant(tensor: Tensor) -> Array:
    return _rounded(tensor, tensor.values)


def _rounded(tensor: Tensor, values: Array) -> Array:
    if tensor.quant is None or values.dtype != np.float32:
        return values
    return fake_quantize(values, tensor.quant)
