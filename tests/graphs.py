"""Random quantised networks: small, seeded, with every operator that has landed.

`Builder` grows a graph layer by layer with scales that keep values alive (neither all zero nor all
saturated). `random_graph` uses it for networks in the manner of small vision models: a stem, steps
drawn at random with residuals, branches and joins, and a head.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from toolchain import ops
from toolchain.ir import Array, DType, Graph, Node, Operands, Quant, State, Tensor, constant, verify
from toolchain.numerics import Activation
from toolchain.ops import Op
from toolchain.ops.spatial import NO_PADS, Pads, Sliding, same_pads

_TYPICAL = 74.0  # standard deviation of int8 values drawn evenly
_SPREAD = 50.0  # standard deviation aimed at in outputs
_SCALES = (0.02, 0.1)  # of activations: the fused activations cut some of the range, not all
PROBABILITY = Quant.per_tensor(2.0**-8, -128)
SYMMETRIC_UNIT = Quant.per_tensor(2.0**-7, 0)


class Builder:
    """Grows a graph; every method adds one layer and returns its output tensor.

    Args:
        rng: the source of all weights, scales and zero points.
        name: the graph's name.
        per_channel: let some weights have a scale per output channel.
    """

    def __init__(
        self, rng: np.random.Generator, name: str = "net", per_channel: bool = True
    ) -> None:
        self.rng = rng
        self.name = name
        self.per_channel = per_channel
        self.tensors: dict[str, Tensor] = {}
        self.nodes: list[Node] = []
        self.inputs: list[str] = []
        self.states: list[State] = []

    def state(self, shape: tuple[int, ...], quant: Quant | None) -> Tensor:
        """Add an int8 state; `remember` gives it its next value."""
        return self._keep(Tensor(f"state{len(self.tensors)}", shape, DType.INT8, quant))

    def remember(self, state: Tensor, value: Tensor) -> None:
        """Let ``value`` be the state's next one."""
        initial = self.rng.integers(-128, 128, state.shape, dtype=np.int8)
        self.states.append(State(state.name, self.alike(ops.Assign(), state, value).name, initial))

    def input(self, shape: tuple[int, ...], dtype: DType = DType.INT8) -> Tensor:
        """Add a graph input; integer inputs get a random quantisation."""
        quant = None if dtype is DType.FLOAT32 else self.quant()
        if quant is not None and dtype is DType.UINT8:
            quant = Quant.per_tensor(quant.scale, quant.zero_point + 128)
        tensor = self._keep(Tensor(f"input{len(self.inputs)}", shape, dtype, quant))
        self.inputs.append(tensor.name)
        return tensor

    def constant(self, shape: tuple[int, ...]) -> Tensor:
        """Add an int8 constant with a random quantisation."""
        values = self.rng.integers(-128, 128, shape, dtype=np.int8)
        return self._keep(replace(self._constant("constant", values), quant=self.quant()))

    def quant(self, scale: float | None = None) -> Quant:
        """Return a per-tensor quantisation with a random zero point, and scale if not given."""
        zero_point = int(np.clip(self.rng.normal(-20, 40), -128, 127))
        return Quant.per_tensor(scale or self.rng.uniform(*_SCALES), zero_point)

    def apply(
        self,
        op: Op,
        inputs: Sequence[Tensor | None],
        quant: Quant | None,
        dtype: DType = DType.INT8,
    ) -> list[Tensor]:
        """Add a node; its outputs get inferred shapes and the given quantisation."""
        guess = Tensor("guess", (), dtype, quant)
        types = op.infer(Operands(tuple(inputs), (guess,)))
        name = f"{op.name}_{len(self.nodes)}"
        outputs = [
            self._keep(Tensor(f"{name}:{index}", made.shape, made.dtype, quant))
            for index, made in enumerate(types)
        ]
        names = tuple(None if tensor is None else tensor.name for tensor in inputs)
        self.nodes.append(Node(name, op, names, tuple(tensor.name for tensor in outputs)))
        return outputs

    def alike(self, op: Op, *inputs: Tensor) -> Tensor:
        """Add a node whose output has the first input's quantisation and type."""
        (output,) = self.apply(op, inputs, inputs[0].quant, inputs[0].dtype)
        return output

    def rescaled(self, op: Op, *inputs: Tensor) -> Tensor:
        """Add a node whose output has a quantisation of its own, near the inputs'."""
        scale = max(tensor.scale for tensor in inputs) * self.rng.uniform(0.7, 2)
        (output,) = self.apply(op, inputs, self.quant(scale))
        return output

    def conv2d(
        self,
        x: Tensor,
        channels: int,
        kernel: tuple[int, int] = (3, 3),
        op: ops.Conv2D | None = None,
        groups: int = 1,
    ) -> Tensor:
        """Add a convolution with random weights; ``op`` holds strides, padding and the rest."""
        shape = (channels, *kernel, x.shape[3] // groups)
        return self._weighted(op or ops.Conv2D(), x, shape, 0)

    def depthwise_conv2d(
        self,
        x: Tensor,
        multiplier: int = 1,
        kernel: tuple[int, int] = (3, 3),
        op: ops.DepthwiseConv2D | None = None,
    ) -> Tensor:
        """Add a depthwise convolution with random weights."""
        shape = (1, *kernel, x.shape[3] * multiplier)
        return self._weighted(op or ops.DepthwiseConv2D(), x, shape, 3)

    def transpose_conv(
        self, x: Tensor, channels: int, kernel: tuple[int, int], op: ops.TransposeConv
    ) -> Tensor:
        """Add a transposed convolution with random weights."""
        return self._weighted(op, x, (channels, *kernel, x.shape[3]), 0)

    def fully_connected(
        self, x: Tensor, units: int, op: ops.FullyConnected | None = None
    ) -> Tensor:
        """Add a fully connected layer with random weights."""
        op = op or ops.FullyConnected()
        depth = x.shape[-1] if op.keep_dims else x.size // x.shape[0]
        return self._weighted(op, x, (units, depth), None)

    def graph(self, *outputs: Tensor) -> Graph:
        """Return the verified graph with these outputs."""
        names = tuple(tensor.name for tensor in outputs)
        parts = tuple(self.nodes), self.tensors, tuple(self.inputs), names, tuple(self.states)
        graph = Graph(self.name, *parts)
        return verify(graph.with_nodes(graph.nodes))

    def _weighted(self, op: Op, x: Tensor, shape: tuple[int, ...], axis: int | None) -> Tensor:
        """Add a node with weights of ``shape``, per channel along ``axis`` or per tensor."""
        channels = shape[axis or 0]
        spread = _TYPICAL**2 * (np.prod(shape) / channels) ** 0.5
        quant = self.quant()
        scale = quant.scale * _SPREAD / (spread * x.scale)
        many = self.per_channel and axis is not None and channels > 1 and self.rng.integers(4) > 0
        count = channels if many else 1
        scales = np.float32(scale * self.rng.uniform(0.7, 1.5, count))
        along, zeros = axis if count > 1 else None, (0,) * count
        weights = self._constant("weights", self.rng.integers(-127, 128, shape, dtype=np.int8))
        weights = replace(weights, quant=Quant(_floats(scales), zeros, along))
        bias = self._constant("bias", np.int32(self.rng.normal(0, spread / 2, channels)))
        bias_scales = _floats(np.float32(x.scale) * scales)
        bias = replace(bias, quant=Quant(bias_scales, zeros, 0 if count > 1 else None))
        (output,) = self.apply(op, [x, self._keep(weights), self._keep(bias)], quant)
        return output

    def _constant(self, label: str, values: Array) -> Tensor:
        return constant(f"{label}{len(self.tensors)}", values)

    def _keep(self, tensor: Tensor) -> Tensor:
        self.tensors[tensor.name] = tensor
        return tensor


def _floats(values: Array) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def any_activation(rng: np.random.Generator) -> Activation:
    """Return a random fused activation."""
    return list(Activation)[int(rng.integers(len(Activation)))]


def _padding(rng: np.random.Generator, x: Tensor, sliding: Sliding) -> Pads:
    """Return "same", "valid" (where the kernel fits) or explicit padding."""
    size = (x.shape[1], x.shape[2])
    same = same_pads(size, sliding.extent, sliding.stride)
    high, wide = (min(extent, 2) for extent in sliding.extent)  # no window of padding alone
    top, bottom = (int(p) for p in rng.integers(0, high, 2))
    left, right = (int(p) for p in rng.integers(0, wide, 2))
    explicit = Pads(top, bottom, left, right)
    fitting = [p for p in (NO_PADS, explicit) if min(replace(sliding, pads=p).out_size(*size)) > 0]
    choices = [same, *fitting]
    return choices[int(rng.integers(len(choices)))]


def _sliding(rng: np.random.Generator) -> Sliding:
    kernel = (int(rng.integers(1, 5)), int(rng.integers(1, 5)))
    stride = (int(rng.integers(1, 3)), int(rng.integers(1, 3)))
    dilation = (1, 1) if rng.integers(4) else (2, 2)
    return Sliding(kernel, stride, dilation)


def _conv2d(b: Builder, x: Tensor) -> Tensor:
    sliding = _sliding(b.rng)
    pads = _padding(b.rng, x, sliding)
    op = ops.Conv2D(sliding.stride, sliding.dilation, pads, any_activation(b.rng))
    return b.conv2d(x, int(b.rng.integers(1, 13)), sliding.kernel, op)


def _pointwise(b: Builder, x: Tensor) -> Tensor:
    op = ops.Conv2D(activation=any_activation(b.rng))
    return b.conv2d(x, int(b.rng.integers(1, 17)), (1, 1), op)


def _depthwise(b: Builder, x: Tensor) -> Tensor:
    sliding = _sliding(b.rng)
    pads = _padding(b.rng, x, sliding)
    op = ops.DepthwiseConv2D(sliding.stride, sliding.dilation, pads, any_activation(b.rng))
    return b.depthwise_conv2d(x, int(b.rng.integers(1, 3)), sliding.kernel, op)


def _inverted_residual(b: Builder, x: Tensor) -> Tensor:
    channels = x.shape[3]
    wide = b.conv2d(x, 2 * channels, (1, 1), ops.Conv2D(activation=Activation.RELU6))
    op = ops.DepthwiseConv2D(pads=Pads(1, 1, 1, 1), activation=Activation.RELU6)
    thin = b.conv2d(b.depthwise_conv2d(wide, op=op), channels, (1, 1))
    return b.rescaled(ops.Add(any_activation(b.rng)), x, thin)


def _squeeze_excite(b: Builder, x: Tensor) -> Tensor:
    mean = b.rescaled(ops.Mean((1, 2), keep_dims=True), x)
    gate = b.conv2d(mean, x.shape[3], (1, 1))
    (probability,) = b.apply(ops.Logistic(), [gate], PROBABILITY)
    scale = x.scale * probability.scale * _TYPICAL
    (output,) = b.apply(ops.Mul(), [x, probability], b.quant(scale))
    return output


def _branches(b: Builder, x: Tensor) -> Tensor:
    left = b.alike(ops.MaxPool2D((3, 3), (1, 1), Pads(1, 1, 1, 1)), x)
    right = b.alike(ops.AveragePool2D((3, 3), (1, 1), Pads(1, 1, 1, 1)), x)
    return b.alike(ops.Concat(3), left, right)


def _split_join(b: Builder, x: Tensor) -> Tensor:
    axis = int(b.rng.integers(1, 4))
    if x.shape[axis] < 2:
        return _pointwise(b, x)
    first = int(b.rng.integers(1, x.shape[axis]))
    parts = b.apply(ops.Split(axis, (first, x.shape[axis] - first)), [x], x.quant)
    return b.alike(ops.Concat(axis), *reversed(parts))


def _pack_unpack(b: Builder, x: Tensor) -> Tensor:
    packed = b.alike(ops.Pack(0), x, b.alike(ops.Relu(), x))
    left, right = b.apply(ops.Unpack(0), [packed], x.quant)
    op = ops.Minimum() if b.rng.integers(2) else ops.Maximum()
    return b.alike(op, left, right)


def _pool(b: Builder, x: Tensor) -> Tensor:
    sliding = replace(_sliding(b.rng), dilation=(1, 1))
    same = same_pads((x.shape[1], x.shape[2]), sliding.extent, sliding.stride)
    if b.rng.integers(2):
        op = ops.AveragePool2D(sliding.kernel, sliding.stride, same, any_activation(b.rng))
        return b.alike(op, x)
    pads = _padding(b.rng, x, sliding)
    return b.alike(ops.MaxPool2D(sliding.kernel, sliding.stride, pads, any_activation(b.rng)), x)


def _arithmetic(b: Builder, x: Tensor) -> Tensor:
    op = [ops.Add, ops.Sub][int(b.rng.integers(2))](any_activation(b.rng))
    shape = [(1, 1, 1, x.shape[3]), (), x.shape][int(b.rng.integers(3))]
    return b.rescaled(op, x, b.constant(shape))


def _pad(b: Builder, x: Tensor) -> Tensor:
    before, after = ((0, *(int(p) for p in b.rng.integers(0, 3, 2)), 0) for _ in range(2))
    return b.alike(ops.Pad(before, after), x)


def _slice(b: Builder, x: Tensor) -> Tensor:
    _, height, width, channels = x.shape
    step = int(b.rng.integers(1, 3))
    end = (1, height, max(1, width - 1), channels)
    return b.alike(ops.StridedSlice((0, 0, 0, 0), end, (1, step, 1, 1)), x)


def _transpose(b: Builder, x: Tensor) -> Tensor:
    return b.alike(ops.Transpose((0, 2, 1, 3)), x)


def _curve(b: Builder, x: Tensor) -> Tensor:
    choices: list[tuple[Op, Quant | None]] = [
        (ops.Logistic(), PROBABILITY),
        (ops.Tanh(), SYMMETRIC_UNIT),
        (ops.HardSwish(), b.quant(x.scale)),
        (ops.LeakyRelu(0.1), b.quant(x.scale)),
        (ops.Relu(Activation.RELU6), x.quant),
        (ops.Relu(Activation.RELU), b.quant(x.scale * 1.1)),
    ]
    op, quant = choices[int(b.rng.integers(len(choices)))]
    (output,) = b.apply(op, [x], quant)
    return output


def _resize(b: Builder, x: Tensor) -> Tensor:
    size = (int(b.rng.integers(1, 2 * x.shape[1])), int(b.rng.integers(1, 2 * x.shape[2])))
    corners, half = [(False, False), (True, False), (False, True)][int(b.rng.integers(3))]
    op = ops.ResizeNearest if b.rng.integers(2) else ops.ResizeBilinear
    return b.alike(op(size, corners, half), x)


def _upsample(b: Builder, x: Tensor) -> Tensor:
    """A transposed convolution with "same" or "valid" padding, which runtimes can read."""
    kernel, channels = (3, 2), int(b.rng.integers(1, 7))
    pads = Pads(0, 1, 0, 0) if b.rng.integers(2) else NO_PADS
    op = ops.TransposeConv((2, 2), pads, any_activation(b.rng))
    return b.transpose_conv(x, channels, kernel, op)


def _rescale(b: Builder, x: Tensor) -> Tensor:
    return b.rescaled(ops.Quantize(), x)


Step = Callable[[Builder, Tensor], Tensor]

STEPS: tuple[Step, ...] = (
    _conv2d,
    _pointwise,
    _depthwise,
    _inverted_residual,
    _squeeze_excite,
    _branches,
    _split_join,
    _pack_unpack,
    _pool,
    _arithmetic,
    _pad,
    _slice,
    _transpose,
    _curve,
    _resize,
    _upsample,
    _rescale,
)


def _head(b: Builder, x: Tensor) -> Tensor:
    pooled = b.alike(ops.AveragePool2D(x.shape[1:3], (1, 1)), x)
    flat = b.alike(ops.Reshape((1, pooled.size)), pooled)
    scores = b.fully_connected(flat, int(b.rng.integers(2, 9)))
    if b.rng.integers(2):
        return scores
    (output,) = b.apply(ops.Softmax(), [scores], PROBABILITY)
    return output


def random_graph(
    rng: np.random.Generator,
    length: int = 6,
    size: int = 16,
    channels: int = 4,
    steps: Sequence[Step] = STEPS,
    per_channel: bool = True,
) -> Graph:
    """Return a random network of ``length`` steps between a convolution and a head.

    Args:
        rng: the source of every choice.
        length: number of steps.
        size: most rows and columns of the input.
        channels: most channels of the input.
        steps: what the steps are drawn from.
        per_channel: let some weights have a scale per output channel.
    """
    b = Builder(rng, per_channel=per_channel)
    height, width = (int(n) for n in rng.integers(max(1, size // 2), size + 1, 2))
    x = _conv2d(b, b.input((1, height, width, int(rng.integers(1, channels + 1)))))
    for index in rng.integers(0, len(steps), length):
        x = steps[int(index)](b, x)
    return b.graph(_head(b, x))
