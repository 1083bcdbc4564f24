"""The digits' images: scikit-learn's 8x8 digits enlarged to 32x32, split, and as int8 codes."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from toolchain.ir import Array, Quant

SIZE, SEED = 32, 7
INPUT = Quant.per_tensor(1 / 16, -128)  # pixel values 0 ... 16; int8 ends at 15.94


def load_images() -> tuple[Array, Array, Array, Array]:
    """Return train images (N, 32, 32), held-out images, train labels, held-out labels."""
    digits = load_digits()
    parts = train_test_split(
        enlarge(digits.images),
        digits.target,
        test_size=0.25,
        random_state=SEED,
        stratify=digits.target,
    )
    return parts[0], parts[1], parts[2], parts[3]


def enlarge(images: Array) -> Array:
    """Return images (N, 8, 8) as (N, 32, 32) float32, bilinear between pixel centres."""
    small = images.shape[1]
    centres = np.clip((np.arange(SIZE) + 0.5) * small / SIZE - 0.5, 0, small - 1)
    low = np.minimum(centres.astype(int), small - 2)
    weights = np.zeros((SIZE, small))
    weights[np.arange(SIZE), low] = 1 - (centres - low)
    weights[np.arange(SIZE), low + 1] = centres - low
    return (weights @ images @ weights.T).astype(np.float32)


def quantise_images(images: Array) -> Array:
    """Return images (N, 32, 32) of values 0 ... 16 as the network's int8 input (N, 32, 32, 1)."""
    codes = np.round(images / INPUT.scale) + INPUT.zero_point
    return codes.clip(-128, 127).astype(np.int8)[..., None]
