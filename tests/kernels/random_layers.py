"""Networks of random layers side by side, large enough to show what their kernels take."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from nas.draft import Draft
from toolchain.ir import DType, Graph, Quant, Tensor, constant, verify
from toolchain.numerics import Activation
from toolchain.ops import (
    Add,
    AveragePool2D,
    Logistic,
    MaxPool2D,
    Mean,
    Mul,
    Op,
    Pad,
    ResizeBilinear,
    ResizeNearest,
    Softmax,
    Transpose,
)
from toolchain.ops.spatial import Pads

Rng = np.random.Generator
Make = Callable[[Draft, Rng], Tensor]
Change = Callable[[Graph], Graph]
_SHARES = Quant.per_tensor(1 / 256, -128)


def side_by_side(graphs: Iterable[Graph]) -> Graph:
    """Return one graph of all, which share nothing."""
    nodes, tensors, states = [], {}, []
    inputs: list[str] = []
    outputs: list[str] = []
    for i, graph in enumerate(graphs):
        new = {name: f"g{i}_{name}" for name in graph.tensors}
        for node in graph.nodes:
            sources = tuple(name and new[name] for name in node.inputs)
            results = tuple(new[name] for name in node.outputs)
            nodes.append(replace(node, name=f"g{i}_{node.name}", inputs=sources, outputs=results))
        tensors |= {new[name]: replace(t, name=new[name]) for name, t in graph.tensors.items()}
        inputs += [new[name] for name in graph.inputs]
        outputs += [new[name] for name in graph.outputs]
        states += [replace(s, read=new[s.read], write=new[s.write]) for s in graph.states]
    named = tuple(inputs), tuple(outputs), tuple(states)
    return verify(Graph("layers", tuple(nodes), tensors, *named))


def drawn(make: Make, count: int, seed: int = 0) -> Graph:
    """Return ``count`` layers that ``make`` draws on inputs of their own."""
    rng, draft = np.random.default_rng(seed), Draft("layers", seed)
    return draft.graph(*(make(draft, rng) for _ in range(count)))


def pointwise(draft: Draft, rng: Rng) -> Tensor:
    x = _map(draft, rng, rng.choice([4, 8, 16, 24, 48, 96]))
    return draft.conv(x, int(rng.choice([4, 7, 8, 16, 24, 31, 48, 64])), 1, 1, _activation(rng))


def convolution(draft: Draft, rng: Rng) -> Tensor:
    kernel, stride = int(rng.choice([3, 3, 5])), int(rng.choice([1, 2]))
    x = _map(draft, rng, rng.choice([1, 3, 4, 8, 12, 16]))
    return draft.conv(x, int(rng.choice([4, 7, 8, 16, 24])), kernel, stride, _activation(rng))


def depthwise(draft: Draft, rng: Rng) -> Tensor:
    kernel, stride = int(rng.choice([3, 3, 5, 7])), int(rng.choice([1, 2]))
    x = _map(draft, rng, rng.choice([4, 8, 16, 20, 32, 40]))
    return draft.depthwise(x, (kernel, kernel), stride, _activation(rng))


def column(draft: Draft, rng: Rng) -> Tensor:
    x = draft.input(1, int(rng.integers(16, 30)), 1, 4 * int(rng.integers(2, 12)))
    return draft.depthwise(x, (int(rng.integers(2, 15)), 1), padded=False)


def fully_connected(draft: Draft, rng: Rng) -> Tensor:
    x = draft.input(int(rng.choice([1, 1, 3])), int(rng.integers(16, 400)))
    return draft.fully_connected(x, int(rng.integers(8, 90)))


def pool(draft: Draft, rng: Rng) -> Tensor:
    size, stride = int(rng.choice([2, 3, 4])), int(rng.choice([1, 2]))
    pads = Pads(*(int(rng.integers(0, 2)),) * 4) if size > 2 else Pads()
    kind = AveragePool2D if rng.random() < 0.5 else MaxPool2D
    x = _map(draft, rng, rng.choice([3, 8, 16, 24, 40, 64]))
    return draft.add(kind((size, size), (stride, stride), pads), x, quant=x.quant)


def mean(draft: Draft, rng: Rng) -> Tensor:
    x = _map(draft, rng, rng.choice([3, 8, 16, 24, 40, 64]))
    return draft.add(Mean((1, 2), keep_dims=True), x)


def binary(draft: Draft, rng: Rng) -> Tensor:
    a = _map(draft, rng, rng.choice([3, 8, 16, 24, 40, 64]))
    size = a.shape[1:3] if rng.random() < 0.6 else (1, 1)
    b = draft.input(1, *size, a.shape[3])
    op: Op = Add(_activation(rng)) if rng.random() < 0.5 else Mul(_activation(rng))
    return draft.add(op, a, b)


def unary(draft: Draft, rng: Rng) -> Tensor:
    """Draw a layer of one input that multiplies nothing."""
    if rng.random() < 0.3:
        x = draft.input(int(rng.integers(1, 20)), int(rng.integers(8, 60)))
        return draft.add(Softmax(), x, quant=_SHARES)
    x = _map(draft, rng, rng.choice([3, 8, 16, 24, 40]))
    ops = [ResizeNearest((2 * x.shape[1], 2 * x.shape[2])), Pad((0, 1, 1, 0), (0, 1, 2, 0))]
    ops += [ResizeBilinear((2 * x.shape[1], 2 * x.shape[2])), Transpose((0, 3, 1, 2))]
    if rng.random() < 0.2:
        return draft.add(Logistic(), x, quant=_SHARES)
    return draft.add(ops[int(rng.integers(len(ops)))], x, quant=x.quant)


def as_it_is(graph: Graph) -> Graph:
    return graph


def with_nibbles(graph: Graph) -> Graph:
    """Return the layers with 4-bit weights, 16 times the scale."""

    def narrow(w: Tensor) -> Tensor:
        assert w.quant is not None
        scales = tuple(float(np.float32(16 * scale)) for scale in w.quant.scales)
        return constant(w.name, w.values // 16, replace(w.quant, scales=scales), DType.INT4)

    return _changed(graph, {n.inputs[1]: narrow for n in graph.nodes})


def with_zero_points(graph: Graph) -> Graph:
    """Return the layers with one scale and a zero point for all weights of each."""

    def moved(w: Tensor) -> Tensor:
        assert w.quant is not None
        return replace(w, quant=Quant.per_tensor(w.quant.scales[0], 7))

    return _changed(graph, {n.inputs[1]: moved for n in graph.nodes})


def widened(graph: Graph) -> Graph:
    """Return the layers with int16 activations, of finer scales and without zero points."""

    def wide(t: Tensor) -> Tensor:
        return replace(t, dtype=DType.INT16, quant=Quant.per_tensor(t.scale / 256))

    def bias(b: Tensor) -> Tensor:
        return constant(b.name, b.values.astype(np.int64) * 256)

    changes: dict[str | None, Callable[[Tensor], Tensor]] = {}
    for node in graph.nodes:
        changes |= dict.fromkeys((node.inputs[0], *node.outputs), wide)
        changes |= dict.fromkeys(node.inputs[2:], bias)
    return _changed(graph, changes)


def _changed(graph: Graph, changes: dict[str | None, Callable[[Tensor], Tensor]]) -> Graph:
    tensors = {name: changes.get(name, _same)(t) for name, t in graph.tensors.items()}
    return verify(replace(graph, tensors=tensors))


def _same(tensor: Tensor) -> Tensor:
    return tensor


def _map(draft: Draft, rng: Rng, channels: int) -> Tensor:
    return draft.input(1, *(int(n) for n in rng.integers(5, 15, 2)), int(channels))


def _activation(rng: Rng) -> Activation:
    return Activation.RELU if rng.random() < 0.6 else Activation.NONE
