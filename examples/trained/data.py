"""Small grey images with ten classes: scikit-learn's digits, or a sprite of Fashion-MNIST."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from toolchain.ir import Array

SEED = 7
_CELL = 28
_CLASSES = 10


@dataclass(frozen=True)
class Split:
    """Images to train on and images kept apart, float32 (N, 1, H, W) from 0 to 1, with classes."""

    train_x: Array
    train_y: Array
    test_x: Array
    test_y: Array


def digits() -> Split:
    """Return scikit-learn's 1,797 handwritten digits, 8x8."""
    from sklearn.datasets import load_digits

    known = load_digits()
    return _split((known.images / 16).astype(np.float32), known.target)


def fashion(sprite: Path) -> Split:
    """Return the images of the Fashion-MNIST sprite: 28x28, as many rows of each class in turn."""
    from PIL import Image

    pixels = np.asarray(Image.open(sprite).convert("L"), np.float32) / 255
    rows, columns = pixels.shape[0] // _CELL, pixels.shape[1] // _CELL
    cells = pixels[: rows * _CELL, : columns * _CELL].reshape(rows, _CELL, columns, _CELL)
    images = cells.transpose(0, 2, 1, 3).reshape(-1, _CELL, _CELL)
    return _split(images, np.arange(len(images)) * _CLASSES // len(images))


def _split(images: Array, classes: Array) -> Split:
    """Keep every third image of each class apart."""
    order = np.random.default_rng(SEED).permutation(len(images))
    images, classes = images[order, None], classes[order].astype(np.int64)
    rank = np.zeros(len(classes), int)
    for one in range(_CLASSES):
        rank[classes == one] = np.arange(np.count_nonzero(classes == one))
    apart = rank % 3 == 2
    return Split(images[~apart], classes[~apart], images[apart], classes[apart])
