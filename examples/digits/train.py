"""Train the digits network of the README and write it as an int8 ``.tflite`` file.

The data are scikit-learn's handwritten digits, 8x8, enlarged to 32x32. A small convolutional
network is trained in PyTorch, quantised to int8 by the ranges seen on the training images, and
exported. Run from the project's root, it rebuilds the files beside it::

    pip install -e ".[mcu]" scikit-learn torch
    python -m examples.digits.train
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from examples.digits.data import INPUT, SEED, SIZE, load_images, quantise_images
from toolchain.exporters.tflite import export_tflite
from toolchain.ir import Array, DType, Graph, Node, Quant, Tensor, constant, run, verify
from toolchain.numerics import Activation
from toolchain.ops import Conv2D, DepthwiseConv2D, FullyConnected, Mean, Op, Softmax
from toolchain.ops.spatial import same_pads

HERE = Path(__file__).parent
CLASSES, EPOCHS = 10, 60
LAYERS = (  # (kind, kernel, stride, output channels)
    ("conv", 5, 2, 16),
    ("depthwise", 3, 2, 16),
    ("conv", 1, 1, 32),
    ("depthwise", 3, 2, 32),
    ("conv", 1, 1, 64),
)


class Block(nn.Module):
    """Convolution, batch normalisation, ReLU6, with TFLite's "same" padding."""

    def __init__(
        self, kind: str, kernel: int, stride: int, in_c: int, out_c: int, size: int
    ) -> None:
        super().__init__()
        self.kind, self.stride = kind, stride
        self.pads = same_pads((size, size), (kernel, kernel), (stride, stride))
        groups = in_c if kind == "depthwise" else 1
        self.conv = nn.Conv2d(in_c, out_c, kernel, stride, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(out_c)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, H, W) to (N, C', H', W')."""
        top, bottom, left, right = self.pads
        return functional.relu6(self.norm(self.conv(functional.pad(x, (left, right, top, bottom)))))

    def folded(self) -> tuple[Array, Array]:
        """Return weights (O, I, KH, KW) and bias (O,) with the normalisation folded in."""
        norm = self.norm
        gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        weights = self.conv.weight * gain[:, None, None, None]
        return weights.detach().numpy(), (norm.bias - norm.running_mean * gain).detach().numpy()


class Network(nn.Module):
    """The blocks of `LAYERS`, a global mean and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        blocks, channels, size = [], 1, SIZE
        for kind, kernel, stride, out_c in LAYERS:
            blocks.append(Block(kind, kernel, stride, channels, out_c, size))
            channels, size = out_c, -(-size // stride)
        self.blocks = nn.ModuleList(blocks)
        self.classifier = nn.Linear(channels, CLASSES)

    def activations(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the output of every block, of the mean and of the classifier."""
        made = []
        for block in self.blocks:
            x = block(x)
            made.append(x)
        made.append(x.mean((2, 3)))
        made.append(self.classifier(made[-1]))
        return made

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images (N, 1, 32, 32) to logits (N, 10)."""
        return self.activations(x)[-1]


def train(images: Array, labels: Array) -> Network:
    """Return the network trained on images (N, 32, 32), shifted at random by up to 3 pixels."""
    torch.manual_seed(SEED)
    network = Network()
    x, y = torch.tensor(images)[:, None], torch.tensor(labels)
    optimiser = torch.optim.AdamW(network.parameters(), lr=4e-3, weight_decay=1e-3)
    steps = EPOCHS * -(-len(x) // 64)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for epoch in range(EPOCHS):
        for batch in torch.randperm(len(x)).split(64):
            rows, columns = torch.randint(-3, 4, (2,)).tolist()
            shifted = torch.roll(x[batch], (rows, columns), (2, 3))
            loss = functional.cross_entropy(network(shifted), y[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        print(f"epoch {epoch + 1}/{EPOCHS} loss {loss.item():.4f}")
    return network.eval()


def affine(values: Array) -> Quant:
    """Return the int8 quantisation that covers ``values`` and 0."""
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    scale = (high - low) / 255
    return Quant.per_tensor(scale, round(-128 - low / scale))


class Quantised:
    """An int8 graph, built layer by layer from float weights and activation ranges."""

    def __init__(self) -> None:
        x = Tensor("image", (1, SIZE, SIZE, 1), DType.INT8, INPUT)
        self.nodes: list[Node] = []
        self.tensors = {x.name: x}
        self.last = x

    def append(self, op: Op, constants: list[Tensor], shape: tuple[int, ...], quant: Quant) -> None:
        """Apply ``op`` to the last tensor."""
        name = f"{op.name}_{len(self.nodes)}"
        y = Tensor(name, shape, DType.INT8, quant)
        inputs = (self.last.name, *(tensor.name for tensor in constants))
        self.nodes.append(Node(name, op, inputs, (name,)))
        self.tensors |= {tensor.name: tensor for tensor in (*constants, y)}
        self.last = y

    def weights(self, values: Array, bias: Array, axis: int) -> list[Tensor]:
        """Return int8 weights with one scale per slice of ``axis``, and their int32 bias."""
        other = tuple(i for i in range(values.ndim) if i != axis)
        scales = (np.abs(values).max(axis=other) / 127).astype(np.float32)
        shape = [-1 if i == axis else 1 for i in range(values.ndim)]
        rounded = np.round(values / scales.reshape(shape)).clip(-127, 127).astype(np.int8)
        count = len(self.nodes)
        quant = Quant(tuple(scales.tolist()), (0,) * len(scales), axis)
        sums = np.round(bias / (scales * self.last.scale)).astype(np.int32)
        return [constant(f"weights_{count}", rounded, quant), constant(f"bias_{count}", sums)]

    def graph(self) -> Graph:
        """Return the finished graph."""
        return verify(
            Graph("digits", tuple(self.nodes), self.tensors, ("image",), (self.last.name,))
        )


def quantise(network: Network, images: Array) -> Graph:
    """Return the int8 graph of ``network``, calibrated on images (N, 32, 32)."""
    with torch.no_grad():
        seen = [a.numpy() for a in network.activations(torch.tensor(images)[:, None])]
    built = Quantised()
    for block, values in zip(network.blocks, seen, strict=False):
        weights, bias = block.folded()
        depthwise = block.kind == "depthwise"
        nhwc = weights.transpose(1, 2, 3, 0) if depthwise else weights.transpose(0, 2, 3, 1)
        kind = DepthwiseConv2D if depthwise else Conv2D
        op = kind(stride=(block.stride,) * 2, pads=block.pads, activation=Activation.RELU6)
        shape = (1, values.shape[2], values.shape[3], values.shape[1])
        built.append(op, built.weights(nhwc, bias, 3 if depthwise else 0), shape, affine(values))
    pooled = (1, seen[-2].shape[1])
    built.append(Mean(axes=(1, 2), keep_dims=False), [], pooled, affine(seen[-2]))
    weights, bias = (p.detach().numpy() for p in network.classifier.parameters())
    built.append(FullyConnected(), built.weights(weights, bias, 0), (1, CLASSES), affine(seen[-1]))
    built.append(Softmax(beta=1.0), [], (1, CLASSES), Quant.per_tensor(1 / 256, -128))
    return built.graph()


def accuracy(graph: Graph, images: Array, labels: Array) -> float:
    """Return the share of int8 images (N, 32, 32, 1) that the interpreter labels rightly."""
    answers = [int(run(graph, [image[None]])[0].argmax()) for image in images]
    return float(np.mean(np.array(answers) == labels))


def main() -> None:
    """Train, quantise, measure and write the files."""
    train_x, test_x, train_y, test_y = load_images()
    graph = quantise(train(train_x, train_y), train_x)
    test = quantise_images(test_x)
    print(f"held-out accuracy, int8: {accuracy(graph, test, test_y):.2%} of {len(test)}")
    (HERE / "digits.tflite").write_bytes(export_tflite(graph))
    np.save(HERE / "images.npy", test[:20])


if __name__ == "__main__":
    main()
