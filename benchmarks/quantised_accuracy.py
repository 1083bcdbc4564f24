"""Accuracy of a float network and of the integer network that our quantiser makes of it.

    python -m benchmarks.quantised_accuracy FLOAT LABELS.csv FOLDER [--vendor INT8.tflite]
        [--activations int16] [--int4 NAME...] [--rounding adaround] [--scale 255] [--swap]
        [--samples 250]

Images and labels as in `benchmarks.accuracy`; pixels enter divided by ``--scale``. No image is
judged by a network that was calibrated on it: the images are split in two, and each half is judged
by the network that the other calibrated. "same" counts images with the class of the float network,
and the signal-to-noise ratio is that of the outputs over all images.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from benchmarks.accuracy import images
from toolchain.importers import import_float, import_model
from toolchain.ir import Array, Graph, run
from toolchain.quantization import ACTIVATIONS, METHODS, ROUNDINGS, quantize
from toolchain.quantization.report import integer_case, real_values, sqnr
from toolchain.reference import run_float

Cases = list[list[Array]]


def answers(graph: Graph, cases: Cases) -> list[Array]:
    """Return the real values of an integer graph's first output for every case."""
    y = graph.output_tensors[0]
    return [real_values(y, run(graph, integer_case(graph, case))[0]) for case in cases]


def row(found: list[Array], real: list[Array], labels: list[int]) -> str:
    """Return what is told of one network."""
    classes, wanted = ([int(one.argmax()) for one in outputs] for outputs in (found, real))
    count, pairs = len(labels), list(zip(found, real, strict=True))
    right = sum(a == b for a, b in zip(classes, labels, strict=True))
    same = sum(a == b for a, b in zip(classes, wanted, strict=True))
    signal = sum(float(np.square(b).sum()) for _, b in pairs)
    ratio = sqnr(signal, sum(float(np.square(a - b).sum()) for a, b in pairs))
    return f"{right}/{count} right, {100 * right / count:.1f} %, same {same}, {ratio:.1f} dB"


def crossed(graph: Graph, cases: Cases, options: argparse.Namespace) -> tuple[list[Array], float]:
    """Return the answers to all cases, and the longest calibration in seconds of processor time."""
    found, longest = [np.empty(0)] * len(cases), 0.0
    for first in (0, 1):
        half = cases[first::2]
        chosen = half[:: max(1, len(half) // options.samples)][: options.samples]
        start = time.process_time()
        made = quantize(
            graph,
            chosen,
            options.method,
            activations=options.activations,
            int4=options.int4,
            equalize=options.equalize,
            rounding=options.rounding,
        )
        longest = max(longest, time.process_time() - start)
        found[1 - first :: 2] = answers(made, cases[1 - first :: 2])
    return found, longest


def main() -> None:
    """Print the share of right answers of each network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("model", "labels", "folder"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--vendor", type=Path)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--swap", action="store_true")
    parser.add_argument("--samples", type=int, default=250)
    parser.add_argument("--activations", choices=ACTIVATIONS, default=ACTIVATIONS[0])
    parser.add_argument("--int4", nargs="*", default=(), help="layers with 4-bit weights")
    parser.add_argument("--method", choices=sorted(METHODS), default="minmax")
    parser.add_argument("--rounding", choices=ROUNDINGS, default=ROUNDINGS[0])
    parser.add_argument("--no-equalize", dest="equalize", action="store_false")
    options = parser.parse_args()
    graph = import_float(options.model)
    shape = graph.input_tensors[0].shape
    labelled = list(images(options.labels, options.folder, shape, options.swap))
    labels = [label for _, label in labelled]
    pixels = [x.astype(np.float32) + 128 for x, _ in labelled]  # `images` takes 128 off
    cases = [[(x / options.scale).astype(np.float32)] for x in pixels]
    real = [run_float(graph, case)[0] for case in cases]
    rows = {"float": real}
    if options.vendor:
        rows["vendor's int8"] = answers(import_model(options.vendor), cases)
    rows[f"our {options.activations}"], seconds = crossed(graph, cases, options)
    for name, found in rows.items():
        print(f"{name:<14} {row(found, real, labels)}")
    print(f"calibration: {seconds:.1f} s of processor time")


if __name__ == "__main__":
    main()
