"""The README's network keeps its promise, measured again from the files."""

from __future__ import annotations

import numpy as np

from examples.digits.data import load_images, quantise_images
from tests.conftest import ROOT
from toolchain.importers import import_model
from toolchain.ir import run

FOLDER = ROOT / "examples/digits"


def test_at_least_97_percent_of_held_out_digits() -> None:
    graph = import_model(FOLDER / "digits.tflite")
    _, images, _, labels = load_images()
    answers = [run(graph, [image[None]])[0].argmax() for image in quantise_images(images)]
    assert np.mean(np.array(answers) == labels) >= 0.97


def test_the_sample_images_are_held_out_digits() -> None:
    _, images, _, _ = load_images()
    np.testing.assert_array_equal(np.load(FOLDER / "images.npy"), quantise_images(images[:20]))
