"""Random small networks with branches, views and several outputs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from toolchain.ir import DType, Graph, Node, Operands, Quant, Tensor, constant, verify
from toolchain.ops import (
    Add,
    ArgMax,
    AveragePool2D,
    Concat,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    MaxPool2D,
    Mean,
    Mul,
    Op,
    Relu,
    Reshape,
    ResizeBilinear,
    ResizeNearest,
)
from toolchain.ops.spatial import Pads


class Builder:
    """Grows a graph node by node; tensors get random quantisation."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.tensors: dict[str, Tensor] = {}
        self.nodes: list[Node] = []

    def quant(self) -> Quant:
        return Quant.per_tensor(self.rng.uniform(0.02, 0.1), int(self.rng.integers(-20, 20)))

    def activation(self, name: str, shape: tuple[int, ...], quant: Quant | None = None) -> Tensor:
        tensor = Tensor(name, shape, DType.INT8, quant or self.quant())
        self.tensors[name] = tensor
        return tensor

    def weights(self, shape: tuple[int, ...], axis: int) -> tuple[Tensor, Tensor]:
        count, channels = len(self.tensors), shape[axis]
        scales = tuple(float(np.float32(s)) for s in self.rng.uniform(0.002, 0.02, channels))
        values = self.rng.integers(-127, 128, shape, dtype=np.int8)
        weights = constant(f"w{count}", values, Quant(scales, (0,) * channels, axis))
        bias = constant(f"b{count}", self.rng.integers(-500, 500, channels, dtype=np.int32))
        self.tensors |= {weights.name: weights, bias.name: bias}
        return weights, bias

    def add(self, op: Op, *inputs: Tensor, quant: Quant | None = None) -> Tensor:
        name = f"t{len(self.tensors)}"
        made = Tensor(name, (), DType.INT8, quant or self.quant())
        (kind,) = op.infer(Operands(inputs, (made,)))
        self.tensors[name] = replace(made, shape=kind.shape, dtype=kind.dtype)
        names = tuple(tensor.name for tensor in inputs)
        self.nodes.append(Node(f"n{len(self.nodes)}", op, names, (name,)))
        return self.tensors[name]

    def graph(self, *inputs: Tensor) -> Graph:
        read = {name for node in self.nodes for name in node.inputs}
        outputs = tuple(n for node in self.nodes for n in node.outputs if n not in read)
        names = tuple(tensor.name for tensor in inputs)
        return verify(Graph("random", tuple(self.nodes), self.tensors, names, outputs))


def grow(build: Builder, x: Tensor) -> Tensor:
    """Add one random node that reads ``x``."""
    rng = build.rng
    if len(x.shape) == 2:
        return build.add(
            FullyConnected(), x, *build.weights((int(rng.integers(1, 12)), x.shape[1]), 0)
        )
    kind = rng.choice(["window", "window", "window", "relu", "reshape", "flat"])
    if kind == "relu":
        return build.add(Relu(), x)
    if kind == "reshape":
        return build.add(Reshape((1, x.shape[2], x.shape[1], x.shape[3])), x, quant=x.quant)
    if kind == "flat":
        return build.add(Reshape((1, x.size)), x, quant=x.quant)
    return window(build, x)


def window(build: Builder, x: Tensor) -> Tensor:
    """Add a convolution with a random kernel, stride, dilation and uneven padding."""
    rng = build.rng
    kernel, dilation = rng.integers(1, 5, 2), rng.integers(1, 3, 2)
    extent = [(int(k) - 1) * int(d) + 1 for k, d in zip(kernel, dilation, strict=True)]
    pads = Pads(*(int(rng.integers(0, min(e, 4))) for e in np.repeat(extent, 2)))
    room = [n + sum(p) for n, p in zip(x.shape[1:3], (pads[:2], pads[2:]), strict=True)]
    size = [int(k) if e <= n else 1 for k, e, n in zip(kernel, extent, room, strict=True)]
    stride = tuple(int(s) for s in rng.integers(1, 4, 2))
    steps = tuple(int(d) for d in dilation)
    if rng.random() < 0.6:
        weights = build.weights((int(rng.integers(1, 9)), *size, x.shape[3]), 0)
        return build.add(Conv2D(stride, steps, pads), x, *weights)
    weights = build.weights((1, *size, x.shape[3]), 3)
    return build.add(DepthwiseConv2D(stride, steps, pads), x, *weights)


def random_network(rng: np.random.Generator) -> Graph:
    """Return a graph of up to eight nodes; tensors may have several readers or none."""
    build = Builder(rng)
    x = build.activation(
        "x", (1, *(int(n) for n in rng.integers(3, 12, 2)), int(rng.integers(1, 6)))
    )
    made = [x]
    for _ in range(int(rng.integers(1, 9))):
        made.append(
            grow(build, made[-1] if rng.random() < 0.7 else made[int(rng.integers(len(made)))])
        )
    return build.graph(x)


def grow_map(build: Builder, made: list[Tensor]) -> Tensor:
    """Add one random node whose output is a map: windows, joins, elementwise functions."""
    rng = build.rng
    x = made[-1] if rng.random() < 0.75 else made[int(rng.integers(len(made)))]
    twins = [t for t in made if t.shape == x.shape]
    kind = rng.choice(
        ["window", "window", "window", "pool", "relu", "add", "scale", "concat", "global"]
    )
    if kind == "add":
        return build.add(Add(), x, twins[int(rng.integers(len(twins)))])
    if kind == "scale":
        gate = build.activation(f"gate{len(build.tensors)}", (1, 1, 1, x.shape[3]))
        return build.add(Mul(), x, gate)
    if kind == "concat":
        same = [t for t in made if t.shape[:3] == x.shape[:3] and t.quant == x.quant]
        return build.add(Concat(3), x, same[int(rng.integers(len(same)))], quant=x.quant)
    if kind in ("pool", "global"):
        return pool(build, x, whole=kind == "global")
    return build.add(Relu(), x) if kind == "relu" else window(build, x)


def pool(build: Builder, x: Tensor, *, whole: bool) -> Tensor:
    """Add a pool over windows, or one over the whole map."""
    rng = build.rng
    if whole and rng.random() < 0.5:
        return build.add(Mean((1, 2), keep_dims=True), x)
    sizes = zip(rng.integers(1, 4, 2), x.shape[1:3], strict=True)
    kernel = x.shape[1:3] if whole else tuple(int(min(k, n)) for k, n in sizes)
    kind = AveragePool2D if whole else rng.choice([AveragePool2D, MaxPool2D])
    stride = tuple(int(s) for s in rng.integers(1, 4, 2))
    return build.add(kind(kernel, stride), x, quant=x.quant)


def random_map_network(rng: np.random.Generator) -> Graph:
    """Return a graph of up to twelve nodes on maps, with residuals, joins and odd windows."""
    build = Builder(rng)
    size = (int(n) for n in rng.integers(4, 17, 2))
    x = build.activation("x", (1, *size, int(rng.integers(1, 5))))
    made = [x]
    for _ in range(int(rng.integers(2, 13))):
        made.append(grow_map(build, made))
    gates = [t for name, t in build.tensors.items() if name.startswith("gate")]
    return build.graph(x, *gates)


def random_bottlenecks(rng: np.random.Generator) -> Graph:
    """Return inverted residuals: a pointwise, a depthwise and a pointwise convolution each."""
    build = Builder(rng)
    channels = int(rng.integers(1, 5))
    x = y = build.activation("x", (1, *(int(n) for n in rng.integers(6, 20, 2)), channels))
    for _ in range(int(rng.integers(1, 4))):
        wide = int(rng.integers(channels, 4 * channels + 1))
        inner = build.add(Conv2D(), y, *build.weights((wide, 1, 1, channels), 0))
        kernel = tuple(
            int(min(k, n)) for k, n in zip(rng.integers(1, 6, 2), y.shape[1:3], strict=True)
        )
        pads = Pads(*(int(rng.integers(0, k)) for k in np.repeat(kernel, 2)))
        stride = tuple(int(s) for s in rng.choice([1, 1, 2, 3], 2))
        weights = build.weights((1, *kernel, wide), 3)
        inner = build.add(DepthwiseConv2D(stride, pads=pads), inner, *weights)
        z = build.add(Conv2D(), inner, *build.weights((channels, 1, 1, wide), 0))
        y = build.add(Add(), y, z) if z.shape == y.shape and rng.random() < 0.7 else z
    return build.graph(x)


def random_separables(rng: np.random.Generator) -> Graph:
    """Return depthwise and pointwise convolutions in turn, on maps of any width from 1 on."""
    build = Builder(rng)
    width = int(rng.choice([1, 1, 2, 4, 7]))
    shape = (1, int(rng.integers(8, 25)), width, 4 * int(rng.integers(1, 4)))
    x = y = build.activation("x", shape)
    for _ in range(int(rng.integers(1, 5))):
        height = int(min(rng.integers(1, 7), y.shape[1]))
        kernel = height, int(min(rng.choice([1, 3]), width))
        top, left = (int(rng.integers(0, k)) for k in kernel)
        weights = build.weights((1, *kernel, y.shape[3]), 3)
        y = build.add(DepthwiseConv2D(pads=Pads(top, 0, left, kernel[1] - 1 - left)), y, *weights)
        for _ in range(int(rng.choice([1, 1, 2]))):
            channels = 4 * int(rng.integers(1, 6))
            y = build.add(Conv2D(), y, *build.weights((channels, 1, 1, y.shape[3]), 0))
    if rng.random() < 0.3:
        y = build.add(Conv2D(), y, *build.weights((5, *y.shape[1:]), 0))
    return build.graph(x)


def random_shortcuts(rng: np.random.Generator) -> Graph:
    """Return residual blocks of two convolutions with a convolution beside them."""
    build = Builder(rng)
    size = (int(n) for n in rng.integers(6, 20, 2))
    image = x = build.activation("x", (1, *size, int(rng.integers(1, 5))))
    for _ in range(int(rng.integers(1, 4))):
        stride = tuple(int(s) for s in rng.choice([1, 2, 2, 3], 2))
        channels = int(rng.integers(1, 5))
        joined = [
            same_size(build, x, channels, int(rng.choice([1, 1, 2, 3])), stride),
            same_size(build, x, channels, int(rng.choice([2, 3, 3, 5])), stride),
        ]
        if rng.random() < 0.7:
            joined[1] = same_size(build, joined[1], channels, int(rng.integers(1, 5)), (1, 1))
        x = build.add(Add(), *joined)
    return build.graph(image)


def same_size(
    build: Builder, x: Tensor, channels: int, kernel: int, stride: tuple[int, ...]
) -> Tensor:
    """Add a convolution whose output is smaller by its stride alone."""
    top, left = (int(n) for n in build.rng.integers(0, kernel, 2))
    pads = Pads(top, kernel - 1 - top, left, kernel - 1 - left)
    weights = build.weights((channels, kernel, kernel, x.shape[3]), 0)
    return build.add(Conv2D(stride, pads=pads), x, *weights)


def bottleneck(build: Builder, x: Tensor, *, gate: bool) -> Tensor:
    """Add an inverted bottleneck, with a squeeze-and-excite gate if asked, maybe a residual."""
    rng = build.rng
    kernel = int(rng.choice([3, 5]))
    stride = int(rng.choice([1, 1, 2])) if min(x.shape[1:3]) > 5 else 1
    channels = x.shape[3] if stride == 1 else int(rng.integers(2, 7))
    middle = 4 * x.shape[3]
    y = build.add(Conv2D(), x, *build.weights((middle, 1, 1, x.shape[3]), 0))
    pads = Pads(*([kernel // 2] * 4))
    weights = build.weights((1, kernel, kernel, middle), 3)
    y = build.add(DepthwiseConv2D((stride, stride), pads=pads), y, *weights)
    if gate:
        scale = build.add(Mean((1, 2), keep_dims=True), y)
        scale = build.add(Conv2D(), scale, *build.weights((middle, 1, 1, middle), 0))
        y = build.add(Mul(), y, scale)
    y = build.add(Conv2D(), y, *build.weights((channels, 1, 1, middle), 0))
    return build.add(Add(), x, y) if y.shape == x.shape else y


def random_mobile_network(rng: np.random.Generator, *, gates: bool = False) -> Graph:
    """Return a stem and up to four inverted bottlenecks on a map of up to 40 x 40 pixels."""
    build = Builder(rng)
    height, width = (int(n) for n in rng.integers(16, 41, 2))
    image = build.activation("image", (1, height, width, 3))
    x = build.add(Conv2D((2, 2), pads=Pads(1, 1, 1, 1)), image, *build.weights((6, 3, 3, 3), 0))
    for _ in range(int(rng.integers(2, 5))):
        x = bottleneck(build, x, gate=gates and bool(rng.random() < 0.7))
    return build.graph(image)


def random_decoder(rng: np.random.Generator) -> Graph:
    """Return a network that shrinks a map and enlarges it again, joined with what it was before.

    Feature pyramids add or concatenate, segmentation ends in the best class of every pixel.
    """
    build = Builder(rng)
    image = x = build.activation("image", (1, *(int(n) for n in rng.integers(6, 20, 2)), 3))
    before = [x]
    for _ in range(int(rng.integers(1, 3))):
        stride = tuple(int(s) for s in rng.choice([1, 2, 2, 3], 2))
        x = same_size(build, x, int(rng.integers(2, 6)), 3, stride)
        before.append(x)
    for finer in before[-2::-1]:
        size = finer.shape[1:3] if rng.random() < 0.8 else tuple(map(int, rng.integers(1, 25, 2)))
        x = build.add(resize(rng, size), x, quant=x.quant)
        if size == finer.shape[1:3]:
            quant = build.quant()
            lateral = same_size(build, finer, x.shape[3], int(rng.choice([1, 3])), (1, 1))
            x = build.add(Add(), x, lateral, quant=quant)
        x = same_size(build, x, int(rng.integers(2, 6)), int(rng.choice([1, 3])), (1, 1))
    if rng.random() < 0.5:
        arg_max(build, x)
    return build.graph(image)


def resize(rng: np.random.Generator, size: tuple[int, ...]) -> Op:
    """Return an operator that resamples to ``size``, in one of all ways."""
    high, wide = size
    align, half = ((False, False), (True, False), (False, True))[int(rng.integers(3))]
    if rng.random() < 0.4:
        return ResizeNearest((high, wide), align, half)
    return ResizeBilinear((high, wide), align, half, in_float=bool(rng.random() < 0.3))


def arg_max(build: Builder, x: Tensor) -> None:
    """Add the index of the largest channel of every pixel."""
    name = f"t{len(build.tensors)}"
    kind = DType.INT32 if build.rng.random() < 0.5 else DType.INT64
    build.tensors[name] = Tensor(name, x.shape[:3], kind)
    build.nodes.append(Node(f"n{len(build.nodes)}", ArgMax(3), (x.name,), (name,)))
