"""ATen LSTM and GRU of any number of layers, each in the words of ONNX."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolchain.importers.aten import AtenNode, Reader
from toolchain.importers.onnx_builder import UnsupportedError, Value
from toolchain.ir import Array
from toolchain.ops import Concat, Split

# Which of PyTorch's gates stand at each place of ONNX's order.
_LSTM_GATES = (0, 3, 1, 2)  # input, forget, cell, output to input, output, forget, cell
_GRU_GATES = (1, 0, 2)  # reset, update, new to update, reset, hidden


def recurrent(kind: str) -> Reader:
    """Return the reader of ``LSTM`` or ``GRU`` layers on each other.

    PyTorch's outputs are those of the last layer, and the last states of all layers.
    """
    gates = _LSTM_GATES if kind == "LSTM" else _GRU_GATES

    def read(node: AtenNode) -> Sequence[Value]:
        ways, count = 2 if node["bidirectional"] else 1, int(node["num_layers"])
        if "batch_sizes" in node.arguments:
            raise UnsupportedError("of packed sequences")
        layers = _layers(node, ways * count)
        states = [_split(node, one, count) for one in _initial(node)]
        batch_first, ends = bool(node["batch_first"]), []
        x: Value = _turned(node, node.x) if batch_first else node.x
        for place in range(count):
            weights = _stacked(layers[place * ways : (place + 1) * ways], gates)
            before = [parts[place] for parts in states]
            y, *last = node.onnx(kind, [x, *weights, None, *before], **_options(kind, ways))
            ends.append(last)
            x = _flat(node, y)
        joined = [_joined(node, parts) for parts in zip(*ends, strict=True)]
        return [_turned(node, x) if batch_first else x, *joined]

    return read


def _options(kind: str, ways: int) -> dict[str, str | int]:
    direction = "bidirectional" if ways == 2 else "forward"
    return {"direction": direction, **({"linear_before_reset": 1} if kind == "GRU" else {})}


def _layers(node: AtenNode, count: int) -> list[list[Array]]:
    """Return the weights of every layer and direction: of x, of the hidden state, and biases."""
    params = node["params"]
    each = 4 if node["has_biases"] else 2
    if len(params) != each * count:
        raise UnsupportedError("with projections")
    if any(isinstance(one, str) for one in params):
        raise UnsupportedError("with computed weights")
    return [list(params[i : i + each]) for i in range(0, len(params), each)]


def _stacked(ways: Sequence[Sequence[Array]], gates: tuple[int, ...]) -> list[Array | None]:
    """Return W, R and B of ONNX for the directions of one layer."""
    parts = [[_ordered(one, gates) for one in way] for way in ways]
    w, r, *biases = (np.stack(column) for column in zip(*parts, strict=True))
    return [w, r, np.concatenate(biases, 1) if biases else None]


def _ordered(rows: Array, gates: tuple[int, ...]) -> Array:
    """Return weights or biases with the gates in ONNX's order."""
    return rows.reshape(len(gates), -1, *rows.shape[1:])[list(gates)].reshape(rows.shape)


def _initial(node: AtenNode) -> list[Value]:
    given = node["hx"]
    return given if isinstance(given, list) else [given]


def _split(node: AtenNode, state: Value, count: int) -> list[Value]:
    """Return the states of all layers, each (directions, batch, H)."""
    if not isinstance(state, str):
        return list(np.split(state, count))
    if count == 1:
        return [state]
    size = node.build.shape(state)[0] // count
    return [*node.build.add_many(Split(0, (size,) * count), [state], [""] * count)]


def _flat(node: AtenNode, y: str) -> Value:
    """Return Y (T, directions, batch, H) as (T, batch, directions * H)."""
    steps, ways, batch, units = node.build.shape(y)
    return node.reshaped(node.build.transposed(y, (0, 2, 1, 3)), (steps, batch, ways * units))


def _joined(node: AtenNode, parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else node.build.add(Concat(0), list(parts))


def _turned(node: AtenNode, x: Value) -> Value:
    """Return (batch, T, ...) as (T, batch, ...), and back."""
    return node.build.transposed(node.name(x), (1, 0, 2))
