"""What is refused of a ``.tflite`` file before, between and behind the reading of its layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from toolchain.errors import ModelError
from toolchain.importers.tflite_file import integers, short
from toolchain.importers.tflite_layer import Layer, Reader, operands
from toolchain.importers.tflite_options import READERS
from toolchain.importers.tflite_tensors import Tensors
from toolchain.ir import DType, Operands, Tensor
from toolchain.ops import Dequantize, Op, Quantize, TensorType
from toolchain.reference import infer_float

_MAX_LISTED = 40
_SCALED = (DType.INT4, DType.INT8, DType.INT16)
_HYBRID_HINT = "export the model without dynamic range quantisation, or as full int8"


def refuse_unsupported(found: Sequence[tuple[int, str, Any]], tensors: Tensors) -> None:
    """Refuse operators without a reader, all at once, with names, shapes and types."""
    listed = []
    for index, code, raw in found:
        if code not in READERS:
            inputs, outputs = (integers(v) for v in (raw.InputsAsNumpy(), raw.OutputsAsNumpy()))
            name = short(tensors.name(outputs[0])) if outputs else "?"
            shapes = ", ".join(tensors.describe(i) for i in inputs[:4] if i >= 0)
            listed.append(f'#{index} {code} "{name}" ({shapes})')
    if not listed:
        return
    more = [f"and {len(listed) - _MAX_LISTED} more"] if len(listed) > _MAX_LISTED else []
    raise ModelError(
        "E210",
        "\n  ".join(
            [
                f"{len(listed)} of {len(found)} operators are not supported:",
                *listed[:_MAX_LISTED],
                *more,
            ]
        ),
        numbers={"unsupported": len(listed), "operators": len(found)},
        hints=[
            "tessera ops",
            "tessera compile MODEL --board host --engine tflite --engine-for unsupported",
        ],
    )


def refuse_dynamic(subgraph: Any, tensors: Tensors) -> None:
    """Refuse inputs with an unknown dimension; an unknown batch, the first one, is 1."""
    for index in integers(subgraph.InputsAsNumpy()):
        signature = tensors.signature(index)
        if min(signature[1:], default=0) < 0:
            raise ModelError(
                "E207",
                f"shape {list(signature)} is dynamic; only the batch may be -1",
                where=f'input "{tensors[index].name}"',
                hints=["export the model with a fixed input shape"],
            )


def check_ports(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
    """Refuse a graph whose inputs or outputs are constants or named twice."""
    for what, ports in (("input", inputs), ("output", outputs)):
        names = [tensor.name for tensor in ports]
        if not names or len(set(names)) < len(names):
            raise ModelError("E205", f"the graph needs {what}s, each named once")
        if any(tensor.is_constant for tensor in ports):
            raise ModelError("E205", f"an {what} of the graph is a constant")


def check_integer(layer: Layer, reader: Reader, op: Op, kept: Operands) -> tuple[TensorType, ...]:
    """Require operands that the operator takes as integers; return its outputs' types."""
    _check_quantised(layer, reader)
    return _infer(layer, op.infer, kept)


def check_real(layer: Layer, reader: Reader, op: Op, kept: Operands) -> tuple[TensorType, ...]:
    """Require operands that the operator takes as real numbers; return its outputs' types."""
    del reader
    real = all(tensor is None or tensor.dtype not in _SCALED for tensor in kept.inputs)
    conversion = isinstance(op, Quantize | Dequantize)
    layer.require(real and not conversion, "it computes with integers")
    return _infer(layer, lambda found: infer_float(op, found), kept)


def _infer(
    layer: Layer, infer: Callable[[Operands], tuple[TensorType, ...]], kept: Operands
) -> tuple[TensorType, ...]:
    try:
        return infer(kept)
    except ModelError as error:
        raise ModelError(error.code, error.what, where=layer.where) from None


def _check_quantised(layer: Layer, reader: Reader) -> None:
    """Require a scale of integer operands that stand for real values, one unless of weights."""
    weights = layer.input(reader.weights) if reader.weights is not None else None
    for tensor in operands(reader, layer).inputs + layer.outputs:
        if tensor is None or tensor is weights or (weights and _is_bias(tensor)):
            continue
        per_channel = tensor.quant is not None and tensor.quant.axis is not None
        layer.require(not per_channel, f'"{tensor.name}" must not be quantised per channel')
        real = tensor.dtype in _SCALED or (layer.code == "QUANTIZE" and tensor.dtype is DType.INT32)
        known = tensor.quant is not None or reader.moves or not real
        layer.require(known, f'"{tensor.name}" carries no quantisation')
    if weights is not None and weights.dtype in _SCALED:
        _check_weights(layer, weights, reader.channels)


def _check_weights(layer: Layer, weights: Tensor, channels: int) -> None:
    """Require one scale, or one per output channel with zero points 0."""
    quant = weights.quant
    if quant is None:
        raise layer.refuse(f'"{weights.name}" carries no quantisation')
    legal = quant.axis is None or (quant.axis == channels and not any(quant.zero_points))
    layer.require(legal, f'"{weights.name}" needs a symmetric scale per output channel')


def _is_bias(tensor: Tensor) -> bool:
    return tensor.is_constant and tensor.dtype in (DType.INT32, DType.INT64)


def refuse_float(layers: Sequence[Layer], total: int) -> None:
    """Refuse a model of ``total`` operators some of which fail as they compute in float32."""
    floats = [layer for layer in layers if _any(layer, DType.FLOAT32)]
    if not floats:
        return
    if any(_any(layer, DType.INT8) for layer in floats):
        raise _hybrid(floats, total)
    raise ModelError(
        "E202",
        f"float model: {len(floats)} of {total} operators compute in float32 where int8 is needed",
        where=floats[0].where,
        hints=["tessera quantize MODEL --data calib.npz"],
    )


def refuse_quantised(layers: Sequence[Layer], total: int) -> None:
    """Refuse a model of ``total`` operators some of which fail as they compute with integers."""
    integral = [layer for layer in layers if any(_any(layer, dtype) for dtype in _SCALED)]
    if not integral:
        return
    if all(layer.outputs[0].dtype is DType.FLOAT32 for layer in integral):
        raise _hybrid(integral, total)
    raise ModelError(
        "E213",
        f"the model is quantised already: {len(integral)} of {total} operators",
        where=integral[0].where,
        hints=["tessera inspect MODEL"],
    )


def _hybrid(layers: Sequence[Layer], total: int) -> ModelError:
    return ModelError(
        "E202",
        f"hybrid model (float activations, int8 weights): {len(layers)} of {total} operators",
        where=layers[0].where,
        hints=[_HYBRID_HINT],
    )


def _any(layer: Layer, dtype: DType) -> bool:
    tensors: tuple[Tensor | None, ...] = (*layer.inputs, *layer.outputs)
    return any(tensor is not None and tensor.dtype is dtype for tensor in tensors)
