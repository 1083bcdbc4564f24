"""Folders of images as sample inputs, one sub-folder per class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from toolchain.errors import ModelError, UsageError
from toolchain.ir import Array

if TYPE_CHECKING:
    from toolchain.ir import Tensor

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
_STEPS: dict[str, Callable[[Array, Array], Array]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
}

Step = Callable[[Array], Array]


def preprocess_steps(text: str) -> list[Step]:
    """Return the steps that a text such as ``bgr,/255,-0.485:0.456:0.406`` stands for.

    Args:
        text: ``bgr`` (channels in reverse) and ``+ - * /`` with a number, or one per channel with
            colons between, separated by commas; applied in order to pixels from 0 to 255.

    Raises:
        UsageError: E101 for anything else.
    """
    return [_step(part.strip()) for part in text.split(",") if part.strip()]


def _step(text: str) -> Step:
    if text == "bgr":
        return lambda pixels: pixels[..., ::-1]
    try:
        values = np.array([float(value) for value in text[1:].split(":")], np.float32)
        function = _STEPS[text[0]]
    except (KeyError, ValueError):
        raise UsageError(
            "E101",
            f"--preprocess does not know the step {text!r}",
            hints=["--preprocess bgr,/255", "--preprocess /127.5,-1"],
        ) from None
    if not np.isfinite(values).all() or (text[0] == "/" and not values.all()):
        raise UsageError("E101", f"--preprocess cannot compute {text!r}")
    return lambda pixels: function(pixels, values)


def image_files(folder: Path) -> tuple[list[Path], list[int] | None]:
    """Return the images of a folder, and their classes if they lie in sub-folders.

    Sub-folders whose names are all whole numbers are these classes; others are numbered in
    alphabetical order.
    """
    inner = sorted(one for one in folder.iterdir() if one.is_dir())
    if not inner:
        return _images(folder), None
    numbered = all(one.name.isdecimal() for one in inner)
    classes = [int(one.name) if numbered else place for place, one in enumerate(inner)]
    found = [
        (file, number) for number, one in zip(classes, inner, strict=True) for file in _images(one)
    ]
    return [file for file, _ in found], [number for _, number in found]


def _images(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)


def read_images(files: Sequence[Path], tensor: Tensor, steps: Sequence[Step]) -> list[list[Array]]:
    """Return images as float32 cases of one input, resized (bilinear) to its size.

    Args:
        files: image files.
        tensor: the input, (1, H, W, C) or (1, C, H, W) with 1 or 3 channels.
        steps: what to do with pixels (H, W, C) from 0 to 255.

    Raises:
        ModelError: E203 without Pillow.
        UsageError: E121 if a file is no image, E122 if the input does not take images or the steps
            do not fit its channels.
    """
    shape = tensor.shape
    first = len(shape) == 4 and shape[1] in (1, 3) and shape[3] not in (1, 3)
    height, width, channels = (shape[2], shape[3], shape[1]) if first else shape[1:4] or (0, 0, 0)
    if len(shape) != 4 or shape[0] != 1 or channels not in (1, 3):
        raise UsageError("E122", f'"{tensor.name}" {list(shape)} does not take images')
    cases = []
    for file in files:
        pixels = _pixels(file, (width, height), "L" if channels == 1 else "RGB")
        pixels = pixels.reshape(height, width, channels).astype(np.float32)
        try:
            for step in steps:
                pixels = step(pixels)
            image = pixels.reshape(height, width, channels)
        except ValueError:
            raise UsageError(
                "E122", f"--preprocess does not fit images of {channels} channels"
            ) from None
        ordered = image.transpose(2, 0, 1) if first else image
        cases.append([np.ascontiguousarray(ordered, np.float32).reshape(shape)])
    return cases


def _pixels(file: Path, size: tuple[int, int], mode: str) -> Array:
    try:
        from PIL import Image
    except ModuleNotFoundError:
        raise ModelError(
            "E203",
            "reading images needs the package pillow",
            where=str(file),
            hints=['pip install "tessera[images]"'],
        ) from None
    try:
        with Image.open(file) as image:
            converted = image.convert(mode)
            if converted.size != size:
                converted = converted.resize(size, Image.Resampling.BILINEAR)
            return np.asarray(converted)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise UsageError("E121", f"not an image: {error}", where=str(file)) from None
