"""Train a small network and print its accuracy in float, int8, 16x8 and fine-tuned.

    pip install -e ".[mcu]" torch scikit-learn pillow
    python -m examples.trained.train                    # scikit-learn's digits
    python -m examples.trained.train --transformer      # attention instead of convolutions
    python -m examples.trained.train --int4 "*"         # 4-bit weights in all layers
    python -m examples.trained.train --sprite fashion-mnist-sprite.png

A third of the images of each class is kept apart: neither training nor calibration sees them. With
``-o FILE`` the int8 network is written as ``.tflite``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import toolchain as ts
from examples.trained.data import SEED, Split, digits, fashion
from examples.vision.transformer import VisionTransformer
from toolchain.ir import Array, Graph
from toolchain.quantization.report import integer_case

_CLASSES = 10
_CALIBRATION = 200
_COPIES = 4  # of each image to fine-tune on, shifted at random


def layer(in_c: int, out_c: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Module:
    """Return convolution, normalisation and ReLU6."""
    convolution = nn.Conv2d(
        in_c, out_c, kernel, stride, padding=kernel // 2, groups=groups, bias=False
    )
    return nn.Sequential(convolution, nn.BatchNorm2d(out_c), nn.ReLU6())


def network(width: int = 16, seed: int = SEED) -> nn.Module:
    """Return a network of separable convolutions for images (N, 1, H, W)."""
    torch.manual_seed(seed)
    layers = [layer(1, width, 3)]
    for in_c, out_c in ((width, 2 * width), (2 * width, 4 * width)):
        layers.append(layer(in_c, in_c, 3, stride=2, groups=in_c))
        layers.append(layer(in_c, out_c, 1))
    head = nn.Linear(4 * width, _CLASSES)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)


def transformer(split: Split, seed: int = SEED) -> nn.Module:
    """Return a vision transformer of 16 tokens or more for the images."""
    torch.manual_seed(seed)
    size = split.train_x.shape[2]
    return VisionTransformer(size, size // 4, width=32, channels=1)


def train(
    module: nn.Module, split: Split, epochs: int, rate: float = 4e-3, seed: int = SEED
) -> nn.Module:
    """Train ``module`` on images that are shifted at random by up to a tenth of their size."""
    torch.manual_seed(seed)
    x, y = torch.tensor(split.train_x), torch.tensor(split.train_y)
    optimiser = torch.optim.AdamW(module.parameters(), lr=rate, weight_decay=1e-2)
    batches = -(-len(x) // 64)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * batches)
    reach = max(1, x.shape[2] // 10)
    module.train()
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(64):
            rows, columns = torch.randint(-reach, reach + 1, (2,)).tolist()
            shifted = torch.roll(x[batch], (rows, columns), (2, 3))
            loss = functional.cross_entropy(module(shifted), y[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return module.eval()


def float_accuracy(graph: Graph, images: Array, classes: Array) -> float:
    """Return the share of images (N, 1, H, W) that a float graph labels rightly."""
    answers = [int(ts.run_float(graph, [image[None]])[0].argmax()) for image in images]
    return float(np.mean(np.array(answers) == classes))


def accuracy(graph: Graph, images: Array, classes: Array) -> float:
    """Return the share of images (N, 1, H, W) that an integer graph labels rightly."""
    answers = [int(ts.run(graph, integer_case(graph, [one[None]]))[0].argmax()) for one in images]
    return float(np.mean(np.array(answers) == classes))


def quantised(
    module: nn.Module, split: Split, int4: Sequence[str] = ()
) -> tuple[Graph, Graph, Graph]:
    """Return the float graph of a trained module, and its int8 and 16x8 graphs.

    The layers that ``int4`` names have 4-bit weights in the int8 graph.
    """
    graph = ts.import_torch(module, torch.tensor(split.train_x[:1]))
    calibration = split.train_x[:_CALIBRATION]
    int8 = ts.quantize(graph, calibration, int4=int4)
    return graph, int8, ts.quantize(graph, calibration, activations="int16")


def fine_tuned(graph: Graph, int8: Graph, split: Split, epochs: int, rate: float = 0.02) -> Graph:
    """Return an int8 graph that learnt the float graph's answers to shifted images."""
    rng = np.random.default_rng(SEED)
    reach = max(1, split.train_x.shape[2] // 10)
    images = [
        np.roll(image, tuple(rng.integers(-reach, reach + 1, 2)), (1, 2))
        for _ in range(_COPIES)
        for image in split.train_x
    ]
    return ts.finetune(int8, np.stack(images), teacher=graph, epochs=epochs, rate=rate)


def main() -> None:
    """Train, quantise and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sprite", type=Path, help="Fashion-MNIST's sprite, a .png file")
    parser.add_argument("--transformer", action="store_true", help="instead of convolutions")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=SEED, help="of the weights and the training")
    parser.add_argument("--fine-tune", type=int, default=5, help="epochs with rounding in the loop")
    parser.add_argument("--rate", type=float, default=0.02, help="of fine-tuning")
    parser.add_argument("--int4", nargs="*", default=(), help="layers with 4-bit weights")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    split = fashion(options.sprite) if options.sprite else digits()
    start = time.perf_counter()
    seed = options.seed
    module = transformer(split, seed) if options.transformer else network(seed=seed)
    train(module, split, options.epochs, seed=seed)
    print(f"{len(split.train_x)} images, trained in {time.perf_counter() - start:.0f} s")
    graph, int8, wide = quantised(module, split, options.int4)
    share = float_accuracy(graph, split.test_x, split.test_y)
    print(f"float  {share:.2%} of {len(split.test_x)}")
    tuned = fine_tuned(graph, int8, split, options.fine_tune, options.rate)
    label = "4-bit weights" if options.int4 else "int8"
    results = [(label, int8), ("16x8", wide), (f"{label}, fine-tuned", tuned)]
    for name, made in results:
        print(f"{name:<6} {accuracy(made, split.test_x, split.test_y):.2%}")
    if options.output:
        ts.save_tflite(int8, options.output)


if __name__ == "__main__":
    main()
