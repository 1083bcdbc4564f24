"""The step network: new frames in, delay lines for what came before."""

from __future__ import annotations

from math import lcm

import numpy as np

from toolchain.ir import Graph, Node, State, Tensor
from toolchain.ops import Shift
from toolchain.streaming.axis import TIME, Role, TimeAxis, rebuilt
from toolchain.streaming.build import Draft


def step_network(axis: TimeAxis) -> tuple[Graph, int]:
    """Return the network of one step, and how old what it reports is.

    Returns:
        The graph, and the frames between the begin of the window that an output shows (counted in
        rows as the window network counts them) and the newest frame, both included.
    """
    return _Step(axis).build()


class _Step:
    """Rows become known with a delay, which differs from tensor to tensor.

    The newest row that step ``c`` adds to a tensor with ``n`` new rows per step has the number
    ``(c + 1) * n - 1 - delay``, where row 0 belongs to a window that begins with the first frame.
    """

    def __init__(self, axis: TimeAxis) -> None:
        self.axis, self.draft = axis, Draft(axis.graph)
        self.delay: dict[str, int] = {}
        self.lines: dict[tuple[str, int], str] = {}

    def build(self) -> tuple[Graph, int]:
        (frames,) = self.axis.graph.inputs
        self.delay[frames] = 0
        self.draft.input(self.axis.new_rows(frames))
        age = self._age()
        for node in self.axis.graph.nodes:
            match self.axis.roles[node.name]:
                case Role.OUTSIDE:
                    self.draft.copy(node, node.op, node.inputs)
                case Role.ROWS:
                    self._rows(node)
                case Role.SLIDES:
                    self._slide(node)
                case Role.GATHERS:
                    self._gather(node, age)
        outputs = [self._report(name, age) for name in self.axis.graph.outputs]
        return self.draft.graph(outputs), age

    def _report(self, name: str, age: int) -> str:
        """Return the rows of an output that belong to the window."""
        if name not in self.axis.rates:
            return name
        new = self.axis.new_rows(name)
        return self._past(name, new, age // self.axis.rates[name] - new - self.delay[name])

    def _age(self) -> int:
        """Return the frames from the begin of the window to the newest, one for all outputs."""
        self._delays()
        rates = self.axis.rates
        ages = {n: (self.delay[n] + rows) * rates[n] for n, rows in self.axis.reports().items()}
        age = max(ages.values())
        return age + -age % lcm(*(rates[name] for name in ages))

    def _delays(self) -> None:
        for node in self.axis.graph.nodes:
            along = self.axis.along(node)
            role = self.axis.roles[node.name]
            if role is Role.ROWS:
                late = max(self.delay[name] for name in along)
            elif role is Role.SLIDES:
                slide = self.axis.slide(node)
                ahead = slide.extent - slide.pad - slide.stride + self.delay[along[0]]
                late = -(-ahead // slide.stride)
            else:
                continue
            self.delay.update(dict.fromkeys(node.outputs, late))

    def _rows(self, node: Node) -> None:
        late = self.delay[node.outputs[0]]
        new = self.axis.new_rows(node.outputs[0])
        inputs = [
            self._past(name, new, late - self.delay[name]) if name in self.axis.rates else name
            for name in node.inputs
            if name is not None
        ]
        self.draft.copy(node, rebuilt(node.op, new), inputs)

    def _slide(self, node: Node) -> None:
        (name,), (target, *_), slide = self.axis.along(node), node.outputs, self.axis.slide(node)
        new, late = self.axis.new_rows(target), self.delay[target]
        needed = (new - 1) * slide.stride + slide.extent
        ahead = slide.extent - slide.pad - slide.stride + self.delay[name]
        x = self._past(name, needed, late * slide.stride - ahead)
        self.draft.copy(node, rebuilt(node.op, new), (x, *node.inputs[1:]))

    def _gather(self, node: Node, age: int) -> None:
        inputs = list(node.inputs)
        for place, name in enumerate(inputs):
            if name is not None and name in self.axis.rates:
                rows, rate = self.axis.graph.tensors[name].shape[TIME], self.axis.rates[name]
                inputs[place] = self._past(name, rows, age // rate - rows - self.delay[name])
        self.draft.copy(node, node.op, inputs)

    def _past(self, name: str, rows: int, behind: int) -> str:
        """Return ``rows`` rows of a tensor, the last of which is ``behind`` its newest."""
        tensor = self.draft.tensor(name)
        new = tensor.shape[TIME]
        length = max(rows + behind, new)
        line = name if length == new else self._line(tensor, length)
        return self.draft.rows(line, length - behind - rows, length - behind)

    def _line(self, tensor: Tensor, length: int) -> str:
        """Return a delay line of the newest ``length`` rows of a tensor."""
        key = tensor.name, length
        if key not in self.lines:
            shape = (1, length, *tensor.shape[TIME + 1 :])
            name = f"{tensor.name}.last{length}"
            state = self.draft.state(tensor.name, f"{name}.before", shape)
            self.lines[key] = self.draft.add(Shift(), [state.name, tensor.name], name, shape)
            zero = tensor.quant.zero_point if tensor.quant is not None else 0
            initial = np.full(shape, zero, tensor.dtype.numpy)
            self.draft.states.append(State(state.name, name, initial))
        return self.lines[key]
