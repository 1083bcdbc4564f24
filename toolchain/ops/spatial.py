"""What convolutions and pools share: padding, output sizes and windows of NHWC maps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from toolchain.ir.tensor import Array, Tensor
from toolchain.ops.base import RowTaps
from toolchain.ops.window import IDENTITY, AxisMap, Slide, Window


class Pads(NamedTuple):
    """Rows and columns of padding around a map."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0

    def replaced(self, rows: tuple[int, int] | None, columns: tuple[int, int] | None) -> Pads:
        """Return these pads with other ones above and below, or left and right."""
        return Pads(*(rows or self[:2]), *(columns or self[2:]))


NO_PADS = Pads()


@dataclass(frozen=True)
class Sliding:
    """A kernel that slides over the rows and columns of a map.

    Attributes:
        kernel: (height, width).
        stride: (vertical, horizontal).
        dilation: (vertical, horizontal).
        pads: explicit padding; "same" padding is resolved when a model is imported.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pads: Pads = NO_PADS

    @property
    def extent(self) -> tuple[int, int]:
        """Return the kernel's size with dilation."""
        (kh, kw), (dh, dw) = self.kernel, self.dilation
        return (kh - 1) * dh + 1, (kw - 1) * dw + 1

    def out_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the output's rows and columns; not positive if the kernel does not fit."""
        (eh, ew), (sh, sw), pads = self.extent, self.stride, self.pads
        return (
            (height + pads.top + pads.bottom - eh) // sh + 1,
            (width + pads.left + pads.right - ew) // sw + 1,
        )

    def window(self, channels: AxisMap = IDENTITY) -> Window:
        """Return the window on an NHWC input."""
        (eh, ew), (sh, sw) = self.extent, self.stride
        rows = Slide(eh, sh, self.pads.top)
        columns = Slide(ew, sw, self.pads.left)
        return Window((IDENTITY, rows, columns, channels))

    def row_taps(self, x: Tensor, y: Tensor) -> RowTaps:
        """Return how a row kernel walks from the NHWC map ``x`` to ``y``."""
        return RowTaps(
            count=self.kernel[0],
            stride=self.stride[0],
            dilation=self.dilation[0],
            pad=self.pads.top,
            batch=x.shape[0],
            in_rows=x.shape[1],
            out_rows=y.shape[1],
            in_row_size=x.shape[2] * x.shape[3],
            out_row_size=y.shape[2] * y.shape[3],
        )

    def taps(self, x: Array, fill: float = 0) -> Iterator[tuple[int, int, Array]]:
        """Yield ``(ky, kx, inputs)`` for every kernel position.

        Args:
            x: map of shape (N, H, W, C).
            fill: value of the padding.

        Yields:
            the kernel position and the inputs that it meets, shape (N, OH, OW, C).
        """
        pads, (sh, sw), (dh, dw) = self.pads, self.stride, self.dilation
        out_h, out_w = self.out_size(x.shape[1], x.shape[2])
        border = ((0, 0), (pads.top, pads.bottom), (pads.left, pads.right), (0, 0))
        padded = np.pad(x, border, constant_values=fill)
        for ky in range(self.kernel[0]):
            for kx in range(self.kernel[1]):
                top, left = ky * dh, kx * dw
                rows = slice(top, top + (out_h - 1) * sh + 1, sh)
                columns = slice(left, left + (out_w - 1) * sw + 1, sw)
                yield ky, kx, padded[:, rows, columns]


def same_pads(size: tuple[int, int], extent: tuple[int, int], stride: tuple[int, int]) -> Pads:
    """Return TFLite's "SAME" padding: the odd row or column goes to the bottom or right."""
    before_after = []
    for length, kernel, step in zip(size, extent, stride, strict=True):
        out = -(-length // step)
        total = max(0, (out - 1) * step + kernel - length)
        before_after.append((total // 2, total - total // 2))
    (top, bottom), (left, right) = before_after
    return Pads(top, bottom, left, right)
