"""ONNX LSTM and GRU, unrolled: every step of a sequence becomes nodes of its own.

Inputs of all steps are multiplied at once; hidden states step by step. What a file keeps between
calls goes in and out of its graph as tensors; an initial state that is missing is zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from toolchain.importers.onnx_builder import Builder, OnnxNode, UnsupportedError
from toolchain.ir import Array
from toolchain.ops import Add, Concat, FullyConnected, Logistic, Mul, Reshape, Split, Sub, Tanh

_MOST_STEPS = 256
_DIRECTIONS = {"forward": (1,), "reverse": (-1,), "bidirectional": (1, -1)}


@dataclass(frozen=True, eq=False)
class _Layer:
    """One direction of a layer, as ONNX orders its gates.

    Attributes:
        build: the graph as it grows.
        units: H, the size of the hidden state.
        inputs: weights of x, (gates * H, I).
        hidden: weights of the hidden state, (gates * H, H).
        bias: of either, (2, gates * H).
    """

    build: Builder
    units: int
    inputs: Array
    hidden: Array
    bias: Array

    def product(self, x: str, weights: Array, bias: Array | None = None) -> str:
        """Return ``x @ weights.T + bias``."""
        given = [x, self.build.constant(weights)]
        if bias is not None and bias.any():
            given.append(self.build.constant(bias))
        return self.build.add(FullyConnected(), given)

    def parts(self, x: str, *sizes: int) -> list[str]:
        """Return parts along the last axis."""
        return self.build.add_many(Split(1, sizes), [x], [""] * len(sizes))

    def sum(self, x: str, y: str | None) -> str:
        """Return the sum of two tensors, the second 0 if it is ``None``."""
        return x if y is None else self.build.add(Add(), [x, y])


States = tuple[str | None, ...]
"""Hidden state and, of an LSTM, cells, (batch, H) each; ``None`` for zeros."""


@dataclass(frozen=True)
class _Cell:
    """What a kind of layer does at every step.

    Attributes:
        activations: that it computes with, the only ones.
        gates: number of them.
        initial: inputs of the node that hold the states before the first step.
        project: returns the part of all gates that depends on x, for all steps at once.
        step: returns the states after a step, from that part and the states before.
    """

    activations: tuple[str, ...]
    gates: int
    initial: tuple[int, ...]
    project: Callable[[_Layer, str], str]
    step: Callable[[_Layer, str, States], tuple[str, ...]]


def lstm(node: OnnxNode) -> list[str]:
    """LSTM without peepholes, clipping and coupled gates."""
    peepholes = len(node.inputs) > 7 and node.inputs[7] is not None
    if peepholes or node.attributes.get("input_forget"):
        raise UnsupportedError("with peepholes or coupled gates")

    def project(layer: _Layer, x: str) -> str:
        return layer.product(x, layer.inputs, layer.bias.sum(0))

    cell = _Cell(("sigmoid", "tanh", "tanh"), 4, (5, 6), project, _lstm_step)
    return _unrolled(node, cell)


def gru(node: OnnxNode) -> list[str]:
    """GRU, the reset gate before or behind the product with the hidden state."""
    behind = bool(node.attributes.get("linear_before_reset"))

    def project(layer: _Layer, x: str) -> str:
        early = 2 * layer.units if behind else 3 * layer.units
        bias = layer.bias[0] + np.where(np.arange(3 * layer.units) < early, layer.bias[1], 0)
        return layer.product(x, layer.inputs, bias)

    def step(layer: _Layer, x: str, states: States) -> tuple[str, ...]:
        return _gru_step(layer, x, states[0], behind=behind)

    return _unrolled(node, _Cell(("sigmoid", "tanh"), 3, (5,), project, step))


def _lstm_step(layer: _Layer, x: str, states: States) -> tuple[str, ...]:
    """Gates stand in the order input, output, forget, cell.

    Reference: S. Hochreiter and J. Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8),
    1997; ONNX operator LSTM.
    """
    build, units, (old, cells) = layer.build, layer.units, states
    again = None if old is None else layer.product(old, layer.hidden)
    gates, new = layer.parts(layer.sum(x, again), 3 * units, units)
    take, give, keep = layer.parts(build.add(Logistic(), [gates]), units, units, units)
    taken = build.add(Mul(), [take, build.add(Tanh(), [new])])
    kept = None if cells is None else build.add(Mul(), [keep, cells])
    cells = layer.sum(taken, kept)
    return build.add(Mul(), [give, build.add(Tanh(), [cells])]), cells


def _gru_step(layer: _Layer, x: str, old: str | None, *, behind: bool) -> tuple[str]:
    """Gates stand in the order update, reset, hidden.

    Reference: K. Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder for
    Statistical Machine Translation", EMNLP 2014; ONNX operator GRU.
    """
    build, units = layer.build, layer.units
    gates, new = layer.parts(x, 2 * units, units)
    first, last = layer.hidden[: 2 * units], layer.hidden[2 * units :]
    bias = layer.bias[1, 2 * units :]
    again = None if old is None else layer.product(old, first)
    update, reset = layer.parts(build.add(Logistic(), [layer.sum(gates, again)]), units, units)
    if behind and (old is not None or bias.any()):
        row = build.constant(bias[None]) if old is None else layer.product(old, last, bias)
        new = build.add(Add(), [new, build.add(Mul(), [reset, row])])
    elif old is not None:
        new = build.add(Add(), [new, layer.product(build.add(Mul(), [reset, old]), last)])
    new = build.add(Tanh(), [new])
    if old is None:
        return (build.add(Sub(), [new, build.add(Mul(), [update, new])]),)
    change = build.add(Mul(), [update, build.add(Sub(), [old, new])])
    return (build.add(Add(), [new, change]),)


def _unrolled(node: OnnxNode, cell: _Cell) -> list[str]:
    """Return Y, Y_h and, of an LSTM, Y_c."""
    build, batch_first = node.build, bool(node.attributes.get("layout"))
    x = build.transposed(node.tensor(0), (1, 0, 2)) if batch_first else node.tensor(0)
    directions = _directions(node, cell, build.tensors[x].shape)
    made = [_direction(node, cell, x, *direction) for direction in enumerate(directions)]
    y, *ends = (
        _joined(build, parts, axis)
        for parts, axis in zip(zip(*made, strict=True), (1, 0, 0), strict=False)
    )
    if not batch_first:
        return [y, *ends]
    return [build.transposed(y, (2, 0, 1, 3)), *(build.transposed(e, (1, 0, 2)) for e in ends)]


def _direction(node: OnnxNode, cell: _Cell, x: str, place: int, sign: int) -> list[str]:
    """Return Y (T, 1, batch, H) and the last states (1, batch, H) of one direction."""
    build, layer = node.build, _layer(node, place, cell.gates)
    steps, batch, size = build.tensors[x].shape
    rows = cell.project(layer, build.add(Reshape((steps * batch, size)), [x]))
    parts = [rows]
    if steps > 1:
        parts = build.add_many(Split(0, (batch,) * steps), [rows], [""] * steps)
    states: States = tuple(_initial(node, index, place) for index in cell.initial)
    made = []
    for part in parts[::sign]:
        made.append(cell.step(layer, part, states))
        states = made[-1]
    every = _joined(build, [one[0] for one in made[::sign]], 0)
    return [
        build.add(Reshape((steps, 1, batch, layer.units)), [every]),
        *(build.add(Reshape((1, batch, layer.units)), [end]) for end in made[-1]),
    ]


def _joined(build: Builder, parts: Sequence[str], axis: int) -> str:
    return parts[0] if len(parts) == 1 else build.add(Concat(axis), list(parts))


def _directions(node: OnnxNode, cell: _Cell, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return 1 or -1 for every direction; refuse what is not read."""
    extra, steps = node.attributes, shape[0]
    directions = _DIRECTIONS.get(extra.get("direction", "forward"))
    if directions is None or len(shape) != 3:
        raise UnsupportedError("of this direction or rank")
    named = [str(_text(one)).lower() for one in extra.get("activations", ())]
    plain = not named or named == [*cell.activations] * len(directions)
    if not plain or extra.get("clip"):
        raise UnsupportedError(f"with clipping or other activations than {cell.activations}")
    lengths = node.known(4) if len(node.inputs) > 4 else None
    if lengths is not None and np.any(lengths != steps):
        raise UnsupportedError("of sequences that end early")
    if steps > _MOST_STEPS:
        raise UnsupportedError(f"of {steps} steps; up to {_MOST_STEPS} are unrolled")
    return directions


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _layer(node: OnnxNode, place: int, gates: int) -> _Layer:
    inputs, hidden, bias = node.needed(1), node.needed(2), node.known(3)
    units = hidden.shape[-1]
    if hidden.shape[1] != gates * units or inputs.shape[1] != gates * units:
        raise UnsupportedError(f"whose weights are not of {gates} gates")
    shared = np.zeros((2, gates * units), np.float32)
    if bias is not None:
        shared = bias[place].reshape(shared.shape)
    return _Layer(node.build, units, inputs[place], hidden[place], shared)


def _initial(node: OnnxNode, index: int, place: int) -> str | None:
    """Return a state (batch, H) before the first step, ``None`` for zeros."""
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None:
        return None
    axis = 1 if node.attributes.get("layout") else 0
    if not isinstance(value, str):
        state = value.take(place, axis)
        return node.build.constant(state) if state.any() else None
    shape = node.build.tensors[value].shape
    batch, units = shape[1 - axis], shape[2]
    if shape[axis] > 1:
        parts = [""] * shape[axis]
        value = node.build.add_many(Split(axis, (1,) * shape[axis]), [value], parts)[place]
    return node.build.add(Reshape((batch, units)), [value])
