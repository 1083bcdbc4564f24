"""What the resize operators share: attributes, legality, windows."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from toolchain.ir.graph import Operands
from toolchain.ops.base import Op, RowTaps, TensorType, require
from toolchain.ops.window import IDENTITY, Resample, Window

_MAX_SIZE = 2**15 - 1


@dataclass(frozen=True)
class Resize(Op):
    """x (N, H, W, C) resampled to (N, *size, C).

    Attributes:
        size: (height, width) of the output.
        align_corners: the corner pixels of input and output lie on each other.
        half_pixel: coordinates are those of pixel centres.
    """

    size: tuple[int, int]
    align_corners: bool = False
    half_pixel: bool = False

    @abstractmethod
    def resample(self, in_size: int, out_size: int) -> Resample:
        """Return the inputs that each output along one axis needs."""

    def infer(self, operands: Operands) -> tuple[TensorType, ...]:
        """See `Op.infer`."""
        x = operands.input(0)
        require(len(x.shape) == 4, self, "x needs rank 4")
        legal = all(0 < size <= _MAX_SIZE for size in (*self.size, *x.shape[1:3]))
        require(legal, self, f"cannot resize to {list(self.size)}")
        return (TensorType((x.shape[0], *self.size, x.shape[3]), x.dtype),)

    def windows(self, operands: Operands) -> tuple[Window, ...]:
        """See `Op.windows`."""
        sizes = zip(operands.input(0).shape[1:3], self.size, strict=True)
        return (Window((IDENTITY, *(self.resample(*pair) for pair in sizes), IDENTITY)),)

    def row_taps(self, operands: Operands, count: int, *lines: int) -> RowTaps:
        """Return how a row kernel finds ``count`` input rows by ``lines`` of its tables."""
        (batch, height, width, channels), (out_h, out_w) = operands.input(0).shape, self.size
        sizes = height, out_h, width * channels, out_w * channels
        return RowTaps(count, 1, 1, 0, batch, *sizes, lines=lines)
