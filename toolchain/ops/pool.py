"""What the two pools share: geometry, legality, windows and the numbers of their C."""

from __future__ import annotations

from dataclasses import dataclass, replace

from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Tensor
from toolchain.numerics import Activation, clamp_range
from toolchain.ops.base import Lowered, Op, TensorType, require, require_integers
from toolchain.ops.spatial import NO_PADS, Pads, Sliding
from toolchain.ops.window import Window


@dataclass(frozen=True)
class Pool(Op):
    """A kernel (height, width) that slides over x (N, H, W, C); padding takes no part.

    Input and output have one scale and zero point; none is applied.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pads: Pads = NO_PADS
    activation: Activation = Activation.NONE

    @property
    def sliding(self) -> Sliding:
        """Return the geometry."""
        return Sliding(self.kernel, self.stride, pads=self.pads)

    def infer(self, operands: Operands) -> tuple[TensorType, ...]:
        """See `Op.infer`."""
        x = operands.input(0)
        require_integers(self, x)
        require(len(x.shape) == 4, self, "x needs rank 4")
        require(_agree(x, operands.output), self, "input and output need one quantisation")
        (height, width), pads = self.kernel, self.pads
        inside = max(pads.top, pads.bottom) < height and max(pads.left, pads.right) < width
        require(inside, self, "a window would hold nothing but padding")
        out_h, out_w = self.sliding.out_size(x.shape[1], x.shape[2])
        require(out_h > 0 and out_w > 0, self, "the kernel is larger than the padded map")
        return (TensorType((x.shape[0], out_h, out_w, x.shape[3]), x.dtype),)

    def windows(self, operands: Operands) -> tuple[Window, ...]:
        """See `Op.windows`."""
        del operands
        return (self.sliding.window(),)

    def padded(self, rows: tuple[int, int] | None, columns: tuple[int, int] | None) -> Op | None:
        """See `Op.padded`."""
        return replace(self, pads=self.pads.replaced(rows, columns))

    def lower(self, operands: Operands) -> Lowered:
        """See `Op.lower`."""
        x, y = operands.input(0), operands.output
        low, high = clamp_range(self.activation, y)
        taps = self.sliding.row_taps(x, y)
        return Lowered(
            self.name,
            {
                "in_w": x.shape[2],
                "channels": x.shape[3],
                "out_w": y.shape[2],
                "kernel": self.kernel,
                "stride_w": self.stride[1],
                "pad_rows": taps.padded,
                "pad_left": self.pads.left,
                "y_min": low,
                "y_max": high,
                "bits": 8 * x.dtype.itemsize,
            },
            taps=taps,
        )


def _agree(x: Tensor, y: Tensor) -> bool:
    """Tell whether both tensors have one quantisation, with TFLite Micro's tolerance."""
    if x.quant is None or y.quant is None:
        return True
    return abs(x.scale - y.scale) <= 1e-6 and x.zero_point == y.zero_point
