"""A camera's picture becomes a network's input: the reference of ``frontend/pixels.c.j2``.

Crop and resize are two tables of neighbours with weights in 1/256, one per axis; normalisation and
quantisation are one table of 256 values per channel. Grey of colours is
(77 R + 150 G + 29 B) / 256; colours of YUYV follow BT.601 at full range.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from toolchain.errors import UsageError
from toolchain.frontend.image_spec import ImageSpec
from toolchain.ir.tensor import Array, DType, Tensor

_GREY = (77, 150, 29)


@dataclass(frozen=True, eq=False)
class ImageFrontend:
    """A front end for one input tensor.

    Attributes:
        spec: what the camera gives.
        tensor: the network's input: int8 (1, H, W, C) of 1 or 3 channels, quantised.
        columns: int64 (W, 2): for each column the left neighbour and the right one's weight in
            1/256.
        rows: int64 (H, 2), as ``columns``.
        values: int8 (C, 256): the input's value of each level, per channel.
    """

    spec: ImageSpec
    tensor: Tensor
    columns: Array
    rows: Array
    values: Array

    @classmethod
    def of(cls, spec: ImageSpec, tensor: Tensor) -> ImageFrontend:
        """Return the front end that fills ``tensor``.

        Raises:
            UsageError: E144 if the tensor is no int8 image.
        """
        quant = tensor.quant
        if tensor.dtype is not DType.INT8 or quant is None:
            raise UsageError(
                "E144", "a front end fills int8 inputs", where=f'"{tensor.name}"',
                hints=["compile with --int8-ports"],
            )  # fmt: skip
        if len(tensor.shape) != 4 or tensor.shape[0] != 1 or tensor.shape[3] not in (1, 3):
            raise UsageError("E144", f"{list(tensor.shape)} is no image", where=f'"{tensor.name}"')
        _, height, width, channels = tensor.shape
        top, left, tall, wide = _rectangle(spec, height, width)
        levels = np.arange(256)
        mean, std = (np.broadcast_to(np.array(v), channels) for v in _fitted(spec, channels))
        real = (levels[None] - mean[:, None]) / std[:, None]
        steps = np.round(real / quant.scale) + quant.zero_point
        return cls(
            spec,
            tensor,
            _neighbours(left, wide, width, spec.width, spec.resize),
            _neighbours(top, tall, height, spec.height, spec.resize),
            np.clip(steps, -128, 127).astype(np.int8),
        )

    def input(self, picture: Array) -> Array:
        """Return the network's input of a picture uint8 (height, line bytes)."""
        levels = decode(picture, self.spec, self.tensor.shape[3])
        wide = _blend(levels, self.columns, 1)
        found = (_blend(wide, self.rows, 0) + 32768) >> 16
        channels = [self.values[c][found[:, :, c]] for c in range(found.shape[2])]
        return np.stack(channels, 2)[None]


def _fitted(spec: ImageSpec, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    for name in ("mean", "std"):
        if len(getattr(spec, name)) not in (1, channels):
            raise UsageError("E144", f"one {name} is needed, the input has one channel")
    return spec.mean, spec.std


def _rectangle(spec: ImageSpec, height: int, width: int) -> tuple[Fraction, ...]:
    """Return top, left, height and width of what is taken of the camera's picture."""
    down, across = Fraction(spec.height, height), Fraction(spec.width, width)
    if spec.crop == "center":
        down = across = min(down, across)
    tall, wide = height * down, width * across
    return (spec.height - tall) / 2, (spec.width - wide) / 2, tall, wide


def _neighbours(start: Fraction, length: Fraction, count: int, limit: int, resize: str) -> Array:
    # Fractions: a centre on the border of two pixels belongs to the same one everywhere.
    centres = [start + Fraction(2 * i + 1, 2 * count) * length for i in range(count)]
    if resize == "nearest":
        return np.array([(min(math.floor(centre), limit - 1), 0) for centre in centres])
    places = [round((centre - Fraction(1, 2)) * 256) for centre in centres]
    return np.array([divmod(min(max(p, 0), (limit - 1) * 256), 256) for p in places])


def _blend(values: Array, neighbours: Array, axis: int) -> Array:
    index, weight = neighbours[:, 0], neighbours[:, 1]
    low = np.take(values, index, axis)
    high = np.take(values, np.minimum(index + 1, values.shape[axis] - 1), axis)
    weight = weight.reshape(-1, 1, 1) if axis == 0 else weight.reshape(1, -1, 1)
    return np.asarray(low * (256 - weight) + high * weight)


def decode(picture: Array, spec: ImageSpec, channels: int) -> Array:
    """Return the levels int64 (height, width, channels), 0 to 255, of a picture's bytes."""
    data = np.asarray(picture, np.uint8).reshape(spec.height, spec.line_bytes).astype(np.int64)
    if spec.format == "gray8":
        return np.repeat(data[:, :, None], channels, 2)
    if spec.format == "yuyv":
        return _of_yuyv(data, channels)
    colours = data.reshape(spec.height, spec.width, 3) if spec.format == "rgb888" else None
    if colours is None:
        low, high = data[:, 0::2], data[:, 1::2]
        word = low * 256 + high if spec.format == "rgb565_swapped" else high * 256 + low
        red, green, blue = word >> 11, word >> 5 & 63, word & 31
        parts = [red << 3 | red >> 2, green << 2 | green >> 4, blue << 3 | blue >> 2]
        colours = np.stack(parts, 2)
    return _grey(colours) if channels == 1 else np.asarray(colours)


def _grey(colours: Array) -> Array:
    return np.asarray((colours * _GREY).sum(2, keepdims=True) + 128 >> 8)


def _of_yuyv(data: Array, channels: int) -> Array:
    luma: Array = data[:, 0::2]
    if channels == 1:
        return np.asarray(luma[:, :, None])
    blue, red = (np.repeat(data[:, i::4], 2, 1) - 128 for i in (1, 3))
    parts = [
        luma + (359 * red + 128 >> 8),
        luma - (88 * blue + 183 * red + 128 >> 8),
        luma + (454 * blue + 128 >> 8),
    ]
    return np.asarray(np.clip(np.stack(parts, 2), 0, 255))
