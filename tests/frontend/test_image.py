"""Pictures: the reference against formulas in double precision, the C against the reference."""

from __future__ import annotations

import ctypes
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from codegen.frontend import image_files
from runtimes.host.library import compile_host
from toolchain.errors import UsageError
from toolchain.frontend import ImageFrontend, ImageSpec, read_frontend
from toolchain.frontend.image import decode
from toolchain.frontend.image_spec import FORMATS
from toolchain.ir import Array, DType, Quant, Tensor

SANITIZED = ("-fsanitize=undefined", "-fno-sanitize-recover=all")


def port(height: int, width: int, channels: int, scale: float = 1 / 255) -> Tensor:
    quant = Quant.per_tensor(scale, -128)
    return Tensor("image", (1, height, width, channels), DType.INT8, quant)


def random_frontend(rng: np.random.Generator) -> ImageFrontend:
    channels = int(rng.choice([1, 3]))
    count = int(rng.choice([1, channels]))
    spec = ImageSpec(
        width=2 * int(rng.integers(1, 30)),
        height=int(rng.integers(1, 40)),
        format=str(rng.choice(list(FORMATS))),
        crop=str(rng.choice(["center", "none"])),
        resize=str(rng.choice(["bilinear", "nearest"])),
        mean=tuple(float(v) for v in rng.uniform(0, 140, count)),
        std=tuple(float(v) for v in rng.uniform(40, 255, count)),
    ).check("test")
    size = (int(rng.integers(1, 40)), int(rng.integers(1, 40)))
    return ImageFrontend.of(spec, port(*size, channels, float(rng.uniform(0.005, 0.03))))


def picture(spec: ImageSpec, rng: np.random.Generator) -> Array:
    return rng.integers(0, 256, (spec.height, spec.line_bytes)).astype(np.uint8)


def sampled(levels: Array, front: ImageFrontend) -> Array:
    """Return real levels at the centres of the input's pixels."""
    spec = front.spec
    _, height, width, _ = front.tensor.shape
    zooms = [Fraction(spec.height, height), Fraction(spec.width, width)]
    zooms = [min(zooms)] * 2 if spec.crop == "center" else zooms
    out = levels.astype(np.float64)
    for axis, (count, step) in enumerate(zip((height, width), zooms, strict=True)):
        limit = out.shape[axis]
        middle = Fraction(limit, 2)
        exact = [middle + (i + Fraction(1 - count, 2)) * step for i in range(count)]
        if spec.resize == "nearest":
            out = np.take(out, [min(math.floor(place), limit - 1) for place in exact], axis)
            continue
        places = np.clip(np.array(exact, np.float64) - 0.5, 0, limit - 1)
        low = np.minimum(places.astype(int), limit - 1)
        high = np.minimum(low + 1, limit - 1)
        part = (places - low).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        out = np.take(out, low, axis) * (1 - part) + np.take(out, high, axis) * part
    return out


@pytest.mark.parametrize("seed", range(40))
def test_inputs_equal_the_formulas(seed: int) -> None:
    rng = np.random.default_rng(seed)
    front = random_frontend(rng)
    data = picture(front.spec, rng)
    levels = decode(data, front.spec, front.tensor.shape[3])
    assert front.tensor.quant is not None
    real = (sampled(levels, front) - front.spec.mean) / front.spec.std
    steps = np.clip(real / front.tensor.quant.scale + front.tensor.quant.zero_point, -128, 127)
    # Weights of 1/256 on each axis and one rounding: up to 1.5 levels; then half a step.
    level = 1 / min(front.spec.std) / front.tensor.quant.scale
    allowed = 0.5001 if front.spec.resize == "nearest" else 1.5 * level + 0.5
    assert np.abs(front.input(data)[0] - steps).max() <= allowed


@pytest.mark.parametrize("block", range(3))
def test_the_c_gives_the_reference_bits(block: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(100 + block)
    fronts = [random_frontend(rng) for _ in range(12)]
    files = {}
    for number, front in enumerate(fronts):
        files |= image_files(front, f"n{number}")
    library = compile_host(files, tmp_path, SANITIZED)
    for number, front in enumerate(fronts):
        data = np.ascontiguousarray(picture(front.spec, rng))
        out = np.zeros(front.tensor.shape, np.int8)
        getattr(library, f"n{number}_pixels_fill")(
            data.ctypes.data_as(ctypes.c_void_p), out.ctypes.data_as(ctypes.c_void_p)
        )
        np.testing.assert_array_equal(out, front.input(data))


def test_colours_are_those_of_their_formats() -> None:
    def levels(text: str, data: list[int], channels: int = 3) -> list[int]:
        spec = ImageSpec(2, 1, text)
        return decode(np.array([data], np.uint8), spec, channels)[0, 0].tolist()  # type: ignore[no-any-return]

    assert levels("rgb888", [1, 2, 3, 0, 0, 0]) == [1, 2, 3]
    assert levels("rgb565", [0x00, 0xF8, 0, 0]) == [255, 0, 0]
    assert levels("rgb565_swapped", [0x07, 0xE0, 0, 0]) == [0, 255, 0]
    assert levels("yuyv", [100, 128, 7, 128]) == [100, 100, 100]
    red = levels("yuyv", [76, 85, 76, 255])  # BT.601's red
    assert np.abs(np.array(red) - (254, 0, 0)).max() <= 2
    assert levels("rgb888", [255, 255, 255, 0, 0, 0], 1) == [255]


def test_bad_files_and_inputs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "camera.toml"
    for text, code in (
        ("[image]\nwidth = 320\nheight = 240", "E142"),
        ('[image]\nwidth = 320\nheight = 240\nformat = "jpeg"', "E143"),
        ('[image]\nwidth = 321\nheight = 240\nformat = "yuyv"', "E143"),
        ('[image]\nwidth = 320\nheight = 240\nformat = "gray8"\nmean = ["a"]', "E142"),
        ('[image]\nwidth = 320\nheight = 240\nformat = "gray8"\nmean = [1, 2]', "E143"),
        ("[video]\n", "E142"),
    ):
        path.write_text(text)
        with pytest.raises(UsageError, match=code):
            read_frontend(path)
    spec = ImageSpec(320, 240, "rgb888", mean=(1.0, 2.0, 3.0))
    for tensor in (port(8, 8, 2), port(8, 8, 1), Tensor("x", (1, 8, 8, 3), DType.FLOAT32)):
        with pytest.raises(UsageError, match="E144"):
            ImageFrontend.of(spec, tensor)
