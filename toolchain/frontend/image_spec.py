"""What a camera gives and how a vision model wants it."""

from __future__ import annotations

from dataclasses import dataclass

from toolchain.errors import UsageError

# Bytes per pixel of each format; yuyv holds two pixels in four bytes.
FORMATS = {"gray8": 1, "rgb888": 3, "rgb565": 2, "rgb565_swapped": 2, "yuyv": 2}
CROPS = ("center", "none")
RESIZES = ("bilinear", "nearest")
_MAX_SIDE = 4096


@dataclass(frozen=True)
class ImageSpec:
    """Parameters of a front end.

    Attributes:
        width: pixels of the camera's line.
        height: lines of the camera's picture.
        format: one of `FORMATS`; ``rgb565`` is little-endian, most cameras send the other.
        crop: ``center`` takes the largest rectangle of the input's shape out of the middle,
            ``none`` stretches the whole picture.
        resize: one of `RESIZES`, pixels being squares with their centre at a half.
        mean: subtracted from the values 0 to 255 of each channel; one for all, or one each.
        std: which they are divided by after that; 255 for inputs from 0 to 1.
    """

    width: int
    height: int
    format: str
    crop: str = "center"
    resize: str = "bilinear"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (255.0,)

    @property
    def line_bytes(self) -> int:
        """Return the bytes of one line of the camera."""
        return self.width * FORMATS[self.format]

    def check(self, where: str) -> ImageSpec:
        """Return this if it makes sense.

        Raises:
            UsageError: E143, with the parameter's name.
        """
        rules = {
            "width": 2 <= self.width <= _MAX_SIDE
            and not (self.format == "yuyv" and self.width % 2),
            "height": 1 <= self.height <= _MAX_SIDE,
            "format": self.format in FORMATS,
            "crop": self.crop in CROPS,
            "resize": self.resize in RESIZES,
            "mean": len(self.mean) in (1, 3) and all(abs(v) < 1e6 for v in self.mean),
            "std": len(self.std) in (1, 3) and all(0 < v < 1e6 for v in self.std),
        }
        for name, holds in rules.items():
            if not holds:
                value = getattr(self, name)
                raise UsageError("E143", f"{name} = {value!r} is not possible", where=where)
        return self
