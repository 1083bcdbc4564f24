"""Accuracy of emulated firmware on labelled images.

    python -m benchmarks.accuracy MODEL LABELS.csv FOLDER [--swap] [--limit N]

LABELS.csv holds ``file,classes,label`` per line, as MLPerf Tiny's calibration sets do. An image is
a ``.bin`` file of raw HWC bytes or, of the same name, a ``.jpg``; pixels enter as ``pixel - 128``.
``--swap`` exchanges red and blue. Files that are listed but missing are left out.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from boards import load_board
from toolchain.cli.pipeline import Project, load_graph, plan_for
from toolchain.cli.report import Reporter
from toolchain.cli.targets import start_emulator
from toolchain.ir import Array, run


def images(
    labels: Path, folder: Path, shape: tuple[int, ...], swap: bool
) -> Iterator[tuple[Array, int]]:
    """Yield ``(int8 image of shape, label)`` for every listed file that exists."""
    with labels.open(encoding="utf-8") as rows:
        for name, _, label in csv.reader(rows):
            pixels = _pixels(folder / name)
            if pixels is None:
                continue
            image = pixels.reshape(shape)
            image = image[..., ::-1] if swap else image
            yield (image.astype(np.int16) - 128).astype(np.int8), int(label)


def _pixels(path: Path) -> Array | None:
    if path.exists():
        return np.frombuffer(path.read_bytes(), np.uint8)
    photo = path.with_suffix(".jpg")
    if not photo.exists():
        return None
    from PIL import Image

    return np.asarray(Image.open(photo).convert("RGB"))


def main() -> None:
    """Print the share of right answers of emulated firmware and interpreter."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("model", "labels", "folder"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--board", default="nucleo_f446re")
    parser.add_argument("--swap", action="store_true")
    parser.add_argument("--limit", type=int)
    options = parser.parse_args()
    reporter, board = Reporter(json=True), load_board(options.board)
    graph = load_graph(options.model, reporter)
    project = Project(Path(), graph, plan_for(graph, board), board, "model")
    cases = list(images(options.labels, options.folder, graph.input_tensors[0].shape, options.swap))
    right = different = 0
    with tempfile.TemporaryDirectory() as folder, start_emulator(project, Path(folder)) as emulator:
        for image, label in cases[: options.limit]:
            (answer,) = emulator.run([image]).outputs
            right += int(answer.argmax()) == label
            different += int(np.count_nonzero(answer != run(graph, [image])[0]))
    count = len(cases[: options.limit])
    print(f"{options.model.stem}: {right}/{count} right, {100 * right / count:.1f} %")
    print(f"bytes that differ from the interpreter: {different}")


if __name__ == "__main__":
    main()
