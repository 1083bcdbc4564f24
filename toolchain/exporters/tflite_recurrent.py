"""Records of the recurrent operators, whose states are variable tensors of the file."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from toolchain.exporters.tflite_layer import Layer
from toolchain.exporters.tflite_writer import Record
from toolchain.importers.tflite_recurrent import LSTM_INPUTS, TANH, initial_value
from toolchain.ir import Graph
from toolchain.ops import Lstm, Svdf

_LSTM_OPTIONS = "UnidirectionalSequenceLSTMOptions"
_ALL_INPUTS = 24  # of an LSTM, most of them of its extensions


def variables(graph: Graph) -> frozenset[str]:
    """Return the states that recurrent operators update."""
    updating = (Lstm, Svdf)
    return frozenset(s.read for s in graph.states if _is(graph, s.write, updating))


def _is(graph: Graph, name: str, kinds: tuple[type, ...]) -> bool:
    return isinstance(graph.producers[name].op, kinds)


def svdf(layer: Layer) -> Record:
    """SVDF."""
    fields = {"Rank": layer.op(Svdf).rank, "FusedActivationFunction": 1}
    return _record(layer, "SVDF", 3, "SVDFOptions", fields, layer.node.inputs)


def lstm(layer: Layer) -> Record:
    """UNIDIRECTIONAL_SEQUENCE_LSTM without peepholes, projection and layer normalisation."""
    op = layer.op(Lstm)
    inputs: list[str | None] = [None] * _ALL_INPUTS
    for place, name in zip(LSTM_INPUTS, layer.node.inputs, strict=True):
        inputs[place] = name
    fields = {
        "FusedActivationFunction": TANH,
        "CellClip": op.cell_clip,
        "TimeMajor": op.time_major,
    }
    code = "UNIDIRECTIONAL_SEQUENCE_LSTM"
    return _record(layer, code, 4, _LSTM_OPTIONS, fields, tuple(inputs))


def _record(
    layer: Layer,
    code: str,
    version: int,
    options: str,
    fields: Mapping[str, int | float],
    inputs: tuple[str | None, ...],
) -> Record:
    """Return the record with one output; its states must start as runtimes start them."""
    for name in layer.node.outputs[1:]:
        if name in layer.draft.read:
            raise layer.refuse("the next value of a state is read")
    for state in layer.draft.states:
        tensor = layer.draft.tensors[state.read]
        mine = state.write in layer.node.outputs
        if mine and not np.array_equal(state.initial, initial_value(tensor)):
            raise layer.refuse(f'"{state.read}" does not start with its zero point')
    outputs = layer.node.outputs[:1]
    return Record(code, version, inputs, outputs, options, fields)
