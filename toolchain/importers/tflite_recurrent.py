"""Recurrent operators of a ``.tflite`` file: options, and the variable tensors that they update."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from toolchain.importers.tflite_layer import Layer, Reader
from toolchain.importers.tflite_tensors import Tensors
from toolchain.ir import Array, DType, State, Tensor
from toolchain.ops import Lstm, Op, Svdf

_NEXT = ".next"
_RELU, TANH = 1, 4  # fused activations by number
# Inputs of an LSTM that the node keeps: x, weights, biases and states; and those of its extensions.
LSTM_INPUTS = (0, *range(1, 9), *range(12, 16), 18, 19)
_EXTENSIONS = {9: "peepholes", 10: "peepholes", 11: "peepholes", 16: "a projection"}
_NORMALS = dict.fromkeys(range(20, 24), "layer normalisation")


def svdf(layer: Layer) -> Op:
    """Return the operator; its ReLU is the range of the output's type, as converters see to."""
    activation = int(layer.options.FusedActivationFunction())
    layer.require(activation in (0, _RELU), f"fused activation {activation} is not supported")
    (rank,) = layer.positive(layer.options.Rank())
    return Svdf(rank)


def lstm(layer: Layer) -> Op:
    """Return the operator; gates must all be there, and none of the extensions."""
    for index, what in {**_EXTENSIONS, **_NORMALS}.items():
        given = index < len(layer.inputs) and layer.inputs[index] is not None
        layer.require(not given, f"an LSTM with {what} is not supported")
    for index in LSTM_INPUTS:
        layer.input(index)
    options = layer.options
    activation = int(options.FusedActivationFunction())
    layer.require(activation == TANH, f"fused activation {activation} is not TANH")
    return Lstm(bool(options.TimeMajor()), max(0.0, float(options.CellClip())))


def with_next_states(layer: Layer, reader: Reader, tensors: Tensors) -> Layer:
    """Return ``layer`` with the next values of its states as further outputs."""
    states = _states(layer, reader)
    for index, tensor in enumerate(layer.inputs):
        if tensor is not None and tensor.name in tensors.variables:
            known = index in reader.states
            layer.require(known, f'"{tensor.name}" lives on between inferences')
    taken = [state.name for state in states]
    for name in taken:
        layer.require(name in tensors.variables, f'"{name}" is not a variable, or updated twice')
        tensors.variables.discard(name)
    after = (replace(state, name=tensors.unique(f"{state.name}{_NEXT}")) for state in states)
    return replace(layer, outputs=(*layer.outputs, *after))


def updated_states(layers: Sequence[Layer], readers: Mapping[str, Reader]) -> Iterator[State]:
    """Yield the states that ``layers`` update; int8 starts with its zero point, all else with 0."""
    for layer in layers:
        states = _states(layer, readers[layer.code])
        after = layer.outputs[len(layer.outputs) - len(states) :]
        for state, following in zip(states, after, strict=True):
            yield State(state.name, following.name, initial_value(state))


def _states(layer: Layer, reader: Reader) -> list[Tensor]:
    return [layer.input(index) for index in reader.states]


def initial_value(state: Tensor) -> Array:
    """Return what runtimes start a variable tensor with: its zero point if int8, else 0."""
    zero = state.zero_point if state.dtype is DType.INT8 and state.quant else 0
    return np.full(state.shape, zero, state.dtype.numpy)
