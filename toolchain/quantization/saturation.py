"""Which values of an activation its readers can tell apart: all others may be clipped.

GELU makes of all values below -3 nearly the same, a hard swish exactly the same, and softmax of all
that lie far below the greatest of their row. A mask, which is added before a softmax, need be no
lower than hides what it is added to. Levels of an integer are better spent elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from toolchain.ir import Array, Graph, Node
from toolchain.ops import (
    Add,
    Gather,
    HardSwish,
    Logistic,
    MaxPool2D,
    Pad,
    ReduceMax,
    ReduceMin,
    Reshape,
    Softmax,
    Split,
    StridedSlice,
    Tanh,
    Transpose,
)
from toolchain.ops.lookup import Lookup
from toolchain.quantization.calibrate import Statistics
from toolchain.quantization.ranges import Range, quant_of
from toolchain.reference import fake_quantize
from toolchain.reference.operators import FUNCTIONS

_MOVES = (Gather, MaxPool2D, Pad, ReduceMax, ReduceMin, Reshape, Split, StridedSlice, Transpose)
_POINTS = 4096
_UNSEEN = 1 / 8  # of an output step; more would be a bias, as clipped values all err alike
_SHARES = np.linspace(1.0, 0.0, 21)  # of the least value seen
_DEPTH = 10.0  # below the greatest of a row, where shares are lost in the steps of any sum

Floats = npt.NDArray[np.float64]


def told_apart(graph: Graph, statistics: Mapping[str, Statistics]) -> dict[str, Range]:
    """Return the range of every activation within which it matters to a reader.

    Values beyond it may be clipped: a function's int8 output moves by an eighth of a step at most,
    and shares of a softmax move less than finer steps within the range gain. Inputs and outputs of
    the graph matter as a whole.

    Args:
        graph: a float graph.
        statistics: of its activations; those without get no range.
    """
    found: dict[str, Range] = {}
    for node in reversed(graph.nodes):
        for name in node.outputs:
            if name in statistics:
                found[name] = _read(graph, name, statistics, found)
    for name in set(graph.inputs).intersection(statistics):
        readers = graph.consumers[name]
        if readers and all(_masked(graph, reader) for reader in readers):
            found[name] = _read(graph, name, statistics, found)
    return found


def _read(
    graph: Graph, name: str, statistics: Mapping[str, Statistics], found: Mapping[str, Range]
) -> Range:
    """Return what all readers of an activation together can tell apart."""
    seen, readers = statistics[name], graph.consumers[name]
    if name in graph.sinks or not readers:
        return seen.range
    parts = [_part(graph, reader, name, statistics, found) for reader in readers]
    low = max(seen.low, min(part.low for part in parts))
    high = min(seen.high, max(part.high for part in parts))
    return Range(low, high) if low < high else seen.range


def _part(
    graph: Graph,
    reader: Node,
    name: str,
    statistics: Mapping[str, Statistics],
    found: Mapping[str, Range],
) -> Range:
    output, seen = reader.outputs[0], statistics[name]
    if isinstance(reader.op, _MOVES):
        ranges = [found.get(one, seen.range) for one in reader.outputs]
        return Range(min(one.low for one in ranges), max(one.high for one in ranges))
    if isinstance(reader.op, Softmax):
        return _softmax(reader.op, seen)
    if _masked(graph, reader) and output in found:
        return _summand(reader, name, statistics, found[output])
    if isinstance(reader.op, HardSwish | Logistic | Lookup | Tanh) and output in statistics:
        return _function(graph, reader, seen, quant_of(statistics[output].range).scales[0])
    return seen.range


def _masked(graph: Graph, node: Node) -> bool:
    """Tell whether a node adds two activations for softmaxes alone."""
    readers = graph.consumers[node.outputs[0]]
    hidden = node.outputs[0] not in graph.sinks and bool(readers)
    constant = any(graph.tensors[name or ""].is_constant for name in node.inputs)
    plain = node.op == Add() and not constant and node.inputs[0] != node.inputs[1]
    return plain and hidden and all(isinstance(one.op, Softmax) for one in readers)


def _summand(node: Node, name: str, statistics: Mapping[str, Statistics], total: Range) -> Range:
    """Return where a summand keeps the sum within ``total``, whatever was seen of the other."""
    (other,) = (statistics[one].range for one in node.inputs if one and one != name)
    return Range(total.low - other.high, total.high - other.low)


def _softmax(op: Softmax, seen: Statistics) -> Range:
    """Return the range whose rounding and clipping change the shares of the rows kept least.

    Of every row the greatest value stays inside.
    """
    rows = seen.rows
    if rows is None or seen.low >= 0:
        return seen.range
    shares, least = _shares(op, rows), float(rows.max(axis=1).min())

    def error(low: float) -> float:
        rounded = fake_quantize(rows, quant_of(Range(low, seen.high)))
        return float(np.square(_shares(op, rounded) - shares).sum())

    lows = [*(float(share * seen.low) for share in _SHARES), least - _DEPTH / op.beta]
    return Range(min((low for low in lows if low <= least), key=error, default=seen.low), seen.high)


def _shares(op: Softmax, rows: Array) -> Floats:
    powers = np.exp(op.beta * (rows - rows.max(axis=1, keepdims=True)).astype(np.float64))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _function(graph: Graph, node: Node, seen: Statistics, step: float) -> Range:
    """Return where a function of one element leaves what it makes of the end points."""
    x = np.linspace(seen.low, seen.high, _POINTS, dtype=np.float32)
    with np.errstate(all="ignore"):
        y = FUNCTIONS[type(node.op)](node.op, graph.operands(node), [x]).astype(np.float64)
    if not np.isfinite(y).all():
        return seen.range
    first = _flat(y, _UNSEEN * step)
    last = _POINTS - 1 - _flat(y[::-1], _UNSEEN * step)
    return Range(float(x[first]), float(x[last])) if first < last else seen.range


def _flat(y: Floats, tolerance: float) -> int:
    """Return the last index whose value stands for all before it."""
    above = np.maximum.accumulate(y) - y
    below = y - np.minimum.accumulate(y)
    return int(np.flatnonzero(np.maximum(above, below) <= tolerance)[-1])
