"""Which tensors run along time, and how every node deals with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto
from math import lcm

from toolchain.errors import ModelError
from toolchain.ir import Graph, Node, Tensor
from toolchain.ops import (
    AveragePool2D,
    Conv2D,
    DepthwiseConv2D,
    MaxPool2D,
    Pad,
    Reshape,
    StridedSlice,
)
from toolchain.ops.base import Op
from toolchain.ops.window import IDENTITY, AxisMap, Slide

TIME = 1  # the axis of time
_SLIDING = (AveragePool2D, Conv2D, DepthwiseConv2D, MaxPool2D, Pad)


class Role(Enum):
    """What a node does along time."""

    OUTSIDE = auto()  # it sees no frames
    ROWS = auto()  # it makes each row of rows of the same time
    SLIDES = auto()  # it slides a window over one input
    GATHERS = auto()  # it needs all rows of the window at once


@dataclass(frozen=True)
class TimeAxis:
    """A network over a window in time, understood.

    Attributes:
        graph: the network, without a reshape of its input.
        rates: frames per row of every tensor that runs along time.
        roles: what each node does, by name.
        hop: frames per step.
    """

    graph: Graph
    rates: Mapping[str, int]
    roles: Mapping[str, Role]
    hop: int

    def new_rows(self, name: str) -> int:
        """Return the rows of a tensor that ``hop`` frames add."""
        return self.hop // self.rates[name]

    def along(self, node: Node) -> tuple[str, ...]:
        """Return the inputs of a node that run along time."""
        return tuple(name for name in node.inputs if name is not None and name in self.rates)

    def slide(self, node: Node) -> Slide:
        """Return the window of a node that slides."""
        return _slide(self.graph, node)

    def reports(self) -> dict[str, int]:
        """Return the rows of every tensor whose newest an output sees: gathered, or an output."""
        found = {name: self.new_rows(name) for name in self.graph.outputs if name in self.rates}
        for node in self.graph.nodes:
            if self.roles[node.name] is Role.GATHERS:
                for name in self.along(node):
                    found[name] = self.graph.tensors[name].shape[TIME]
        return found


def time_axis(graph: Graph) -> TimeAxis:
    """Follow time through ``graph``; see `toolchain.streaming.stream_over_time`.

    Raises:
        ModelError: E215 if there is no such axis.
    """
    graph = _without_reshaped_input(graph)
    (frames,) = graph.input_tensors
    if frames.shape[0] != 1 or len(frames.shape) < 2 or frames.shape[TIME] < 2:
        raise _refuse(f"{list(frames.shape)} is no window of frames", f'input "{frames.name}"')
    rates, roles = {frames.name: 1}, {}
    for node in graph.nodes:
        role = roles[node.name] = _role(graph, node, rates)
        if role is Role.ROWS or role is Role.SLIDES:
            rate = rates[next(name for name in node.inputs if name in rates)]
            stride = _slide(graph, node).stride if role is Role.SLIDES else 1
            rates.update(dict.fromkeys(node.outputs, rate * stride))
    return TimeAxis(graph, rates, roles, lcm(*rates.values()))


def rebuilt(op: Op, rows: int) -> Op:
    """Return an operator that works on ``rows`` rows and pads nothing in time."""
    match op:
        case Reshape():
            return Reshape((op.shape[0], rows, *op.shape[TIME + 1 :]))
        case StridedSlice():
            return replace(op, end=(op.end[0], rows, *op.end[TIME + 1 :]))
        case Pad():
            before, after = (tuple(_unpadded(pads)) for pads in (op.before, op.after))
            return replace(op, before=before, after=after)
        case Conv2D() | DepthwiseConv2D() | AveragePool2D() | MaxPool2D():
            return replace(op, pads=op.pads._replace(top=0, bottom=0))
    return op


def _unpadded(pads: tuple[int, ...]) -> tuple[int, ...]:
    return (pads[0], 0, *pads[TIME + 1 :])


def _without_reshaped_input(graph: Graph) -> Graph:
    """Return the graph with frames as its input where it takes them as one flat vector."""
    if len(graph.inputs) != 1 or graph.states:
        raise _refuse("one input and no states are needed", f'graph "{graph.name}"')
    readers = graph.consumers[graph.inputs[0]]
    if len(readers) != 1 or not isinstance(readers[0].op, Reshape):
        return graph
    rest = [node for node in graph.nodes if node is not readers[0]]
    return replace(graph, inputs=readers[0].outputs).with_nodes(rest)


def _role(graph: Graph, node: Node, rates: Mapping[str, int]) -> Role:
    operands = graph.operands(node)
    along = [tensor for tensor in operands.activations if tensor.name in rates]
    if not along:
        return Role.OUTSIDE
    pairs = zip(operands.activations, node.op.windows(operands), strict=True)
    maps = [_map(window.axes) for tensor, window in pairs if tensor.name in rates]
    kept = all(len(y.shape) > TIME and y.shape[TIME] > 1 for y in operands.outputs)
    alone = len(along) == len(operands.activations)
    together = len({rates[tensor.name] for tensor in along}) == 1
    if kept and alone and together and all(window == IDENTITY for window in maps):
        return Role.GATHERS if _varies(graph, node, along) else Role.ROWS
    if kept and alone and isinstance(maps[0], Slide) and isinstance(node.op, _SLIDING):
        return Role.SLIDES
    return Role.GATHERS


def _map(axes: tuple[AxisMap, ...]) -> AxisMap | None:
    return axes[TIME] if len(axes) > TIME else None


def _varies(graph: Graph, node: Node, along: list[Tensor]) -> bool:
    """Tell whether a constant operand differs from frame to frame."""
    shape = along[0].shape
    constants = (t for t in graph.operands(node).inputs if t is not None and t.is_constant)
    return any(len(t.shape) == len(shape) and t.shape[TIME] == shape[TIME] for t in constants)


def _slide(graph: Graph, node: Node) -> Slide:
    operands = graph.operands(node)
    (window,) = node.op.windows(operands)
    along = window.axes[TIME]
    assert isinstance(along, Slide), "the role says so"
    return along


def _refuse(why: str, where: str) -> ModelError:
    return ModelError("E215", f"it cannot take its input frame by frame: {why}", where=where)
