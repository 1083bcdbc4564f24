"""Single layers that show how the cost of a kernel depends on its shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from benchmarks.counting import count
from boards import Board
from nas.draft import Draft
from toolchain.ir import DType, Graph, Quant, Tensor, constant
from toolchain.numerics import Activation
from toolchain.ops import Add, AveragePool2D, MaxPool2D, Mean, Mul, Op

ROW = "{:<36} {:<24} {:>10} {:>11} {:>6} {:>7} {:>7} {:>5}"
_RELU = Activation.RELU


def one(draw: Callable[..., Tensor], *shapes: tuple[int, ...]) -> Graph:
    """Return the graph of one layer, drawn by ``draw(draft, *inputs)`` on inputs of ``shapes``."""
    draft = Draft("layer")
    return draft.graph(draw(draft, *(draft.input(*shape) for shape in shapes)))


def shapes() -> Iterator[tuple[str, Graph]]:
    """Yield layers of int8 activations, the weighted ones with a fused ReLU unless they say so."""
    yield from pointwise()
    yield from windows()
    yield from depthwise()
    for depth, units in ((640, 128), (128, 10)):

        def draw(d: Draft, x: Tensor, count: int = units) -> Tensor:
            return d.fully_connected(x, count)

        yield f"fully connected {depth}->{units}, no ReLU", one(draw, (1, depth))
    yield from unweighted()


def pointwise() -> Iterator[tuple[str, Graph]]:
    """Yield 1x1 convolutions."""
    pairs = (8, 16), (16, 64), (16, 96), (24, 96), (32, 32), (64, 64), (128, 128), (64, 63)
    for in_c, out_c in pairs:
        for activation in (_RELU, Activation.NONE) if in_c == 64 else (_RELU,):
            suffix = "" if activation is _RELU else ", no ReLU"

            def draw(d: Draft, x: Tensor, c: int = out_c, a: Activation = activation) -> Tensor:
                return d.conv(x, c, activation=a)

            yield f"conv 1x1 12x12 {in_c}->{out_c}{suffix}", one(draw, (1, 12, 12, in_c))


def windows() -> Iterator[tuple[str, Graph]]:
    """Yield 3x3 convolutions."""
    for size, in_c, out_c, stride in ((32, 16, 16, 1), (32, 16, 32, 2), (48, 3, 8, 2)):

        def draw(d: Draft, x: Tensor, c: int = out_c, s: int = stride) -> Tensor:
            return d.conv(x, c, 3, s, _RELU)

        yield f"conv 3x3/{stride} {size}x{size} {in_c}->{out_c}", one(draw, (1, size, size, in_c))


def depthwise() -> Iterator[tuple[str, Graph]]:
    """Yield depthwise convolutions, those over time last."""
    squares = (48, 3, 1), (48, 3, 2), (6, 3, 1), (24, 5, 1), (24, 5, 2), (14, 7, 1)
    for size, kernel, stride in squares:

        def draw(d: Draft, x: Tensor, k: int = kernel, s: int = stride) -> Tensor:
            return d.depthwise(x, (k, k), s, _RELU)

        name = f"depthwise {kernel}x{kernel}/{stride} {size}x{size}x16"
        yield name, one(draw, (1, size, size, 16))
    for frames, kernel in ((30, 3), (24, 10), (15, 15)):

        def draw_time(d: Draft, x: Tensor, k: int = kernel) -> Tensor:
            return d.depthwise(x, (k, 1), padded=False)

        yield f"depthwise {kernel}x1 {frames}x1x128, no ReLU", one(draw_time, (1, frames, 1, 128))


def unweighted() -> Iterator[tuple[str, Graph]]:
    """Yield layers that only read activations."""
    shape, gate = (1, 14, 14, 64), (1, 1, 1, 64)
    yield "add 14x14x64", one(lambda d, x, y: d.add(Add(), x, y), shape, shape)
    yield "gate 14x14x64", one(lambda d, x, y: d.add(Mul(), x, y), shape, gate)
    yield "mean 14x14x64", one(lambda d, x: d.add(Mean((1, 2), keep_dims=True), x), shape)
    for op in (AveragePool2D((14, 14)), MaxPool2D((2, 2), (2, 2))):

        def draw(d: Draft, x: Tensor, pool: Op = op) -> Tensor:
            return d.add(pool, x, quant=x.quant)

        yield f"{op.name} {op.kernel[0]}x{op.kernel[1]} 14x14x64", one(draw, shape)


def wide_shapes() -> Iterator[tuple[str, Graph]]:
    """Yield the same kinds of layers with int16 activations."""
    drawn = {
        "conv 1x1 12x12 16->64": one(lambda d, x: d.conv(x, 64), (1, 12, 12, 16)),
        "conv 1x1 12x12 64->64": one(lambda d, x: d.conv(x, 64), (1, 12, 12, 64)),
        "conv 1x1 12x12 64->63": one(lambda d, x: d.conv(x, 63), (1, 12, 12, 64)),
        "conv 3x3/1 24x24 16->32": one(lambda d, x: d.conv(x, 32, 3), (1, 24, 24, 16)),
        "depthwise 3x3/1 24x24x64": one(lambda d, x: d.depthwise(x, (3, 3)), (1, 24, 24, 64)),
        "fully connected 640->128": one(lambda d, x: d.fully_connected(x, 128), (1, 640)),
    }
    for name, graph in drawn.items():
        yield f"16x8 {name}", widened(graph)


def narrow_shapes() -> Iterator[tuple[str, Graph]]:
    """Yield layers with 4-bit weights."""
    drawn = {
        "conv 1x1 12x12 16->64": one(lambda d, x: d.conv(x, 64), (1, 12, 12, 16)),
        "conv 1x1 12x12 64->64": one(lambda d, x: d.conv(x, 64), (1, 12, 12, 64)),
        "conv 1x1 12x12 128->128": one(lambda d, x: d.conv(x, 128), (1, 12, 12, 128)),
        "conv 3x3/1 24x24 16->32": one(lambda d, x: d.conv(x, 32, 3), (1, 24, 24, 16)),
        "fully connected 640->128": one(lambda d, x: d.fully_connected(x, 128), (1, 640)),
    }
    for name, graph in drawn.items():
        yield f"int4 {name}", narrowed(graph)


def narrowed(graph: Graph) -> Graph:
    """Return a layer whose weights have 4 bits and steps 16 times as large."""
    (node,) = graph.nodes
    weights = graph.tensors[node.inputs[1] or ""]
    assert weights.quant is not None
    scales = tuple(float(np.float32(16 * scale)) for scale in weights.quant.scales)
    quant = replace(weights.quant, scales=scales)
    made = constant(weights.name, weights.values // 16, quant, DType.INT4)
    return graph.with_nodes(graph.nodes, [made])


def widened(graph: Graph) -> Graph:
    """Return a layer with int16 activations without zero points, and a 64-bit bias."""
    (node,) = graph.nodes
    x, b, y = (graph.tensors[name] for name in (node.inputs[0], node.inputs[2], node.outputs[0]))
    fine = Quant.per_tensor(x.scale / 256), Quant.per_tensor(y.scale / 256)
    wide = [replace(t, dtype=DType.INT16, quant=q) for t, q in zip((x, y), fine, strict=True)]
    bias = constant(b.name, b.values.astype(np.int64) * 256)
    return graph.with_nodes(graph.nodes, [*wide, bias])


def print_shapes(board: Board) -> None:
    """Print one row per layer."""
    head = "layer", "kernel", "MACs", "instructions", "/MAC", "/output", "arena", "wrong"
    print(ROW.format(*head))
    for name, graph in (*shapes(), *narrow_shapes(), *wide_shapes()):
        done = count(graph, board)
        each = f"{done.instructions / graph.macs:.3f}" if graph.macs else "-"
        outputs = sum(t.size for t in graph.output_tensors)
        total = f"{done.instructions:,}"
        numbers = graph.macs, total, each, f"{done.instructions / outputs:.1f}"
        print(ROW.format(name, done.kernel, *numbers, done.arena_bytes, done.wrong), flush=True)
