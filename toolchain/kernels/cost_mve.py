"""How many instructions kernels of the vector extension take: counts on an emulated Cortex-M55.

See `toolchain.kernels.cost`.
"""

from __future__ import annotations

from dataclasses import dataclass

from toolchain.kernels.conv_dsp import Geometry
from toolchain.ops.base import RowTaps

_BLOCK = 29.0  # calls of a block of pixels
_GROUP = {1: 30.0, 2: 40.0}  # four filters with one pixel or two, beside the products
_SOME, _SIGNED = 11.0, 6.0  # where the last four are fewer; the formula `signed`
_VECTOR = {1: 10.0, 2: 16.5}  # 16 inputs of a block with four filters
_TAIL = {1: 12.0, 2: 22.0}  # the last inputs, fewer than 16


@dataclass(frozen=True)
class Products:
    """A matrix product.

    Attributes:
        pixels: of a call.
        depth: inputs of a pixel.
        filters: of which four are multiplied at a time.
        signed: whether outputs are rounded twice.
    """

    pixels: int
    depth: int
    filters: int
    signed: bool

    @property
    def instructions(self) -> float:
        """Return what the products and outputs of a call take."""
        groups = -(-self.filters // 4)
        each = _SOME * (self.filters % 4 > 0) + _SIGNED * self.signed
        found = 0.0
        for pixels, count in ((2, self.pixels // 2), (1, self.pixels % 2)):
            vectors = _VECTOR[pixels] * (self.depth // 16) + _TAIL[pixels] * (self.depth % 16 > 0)
            found += count * (_BLOCK + groups * (_GROUP[pixels] + each + vectors))
        return found


def pointwise(products: Products, *, copied: bool) -> int:
    """Estimate a 1x1 convolution whose pixels are one long row; ``copied`` to scratch memory."""
    vectors = products.pixels * products.depth / 16
    copies = (14.0 * (products.pixels // 2) + 11.9 * vectors) if copied else 0.0
    return round(40 + products.instructions + copies)


def windows(products: Products, geometry: Geometry, taps: RowTaps) -> int:
    """Estimate a convolution row by row, whose windows are copied to scratch memory."""
    copied = 14.7 * products.depth / 16 + 25.0 * geometry.kernel[0]
    calls = taps.batch * taps.out_rows
    return round(calls * (100.0 + products.instructions + products.pixels * copied))


def rows(products: Products, count: int) -> int:
    """Estimate a fully connected layer of ``count`` rows."""
    return round(20 + count * (13.0 + products.instructions))


def folded(depth: int, units: int, rows: int, *, twice: bool) -> int:
    """Estimate a call of a fully connected layer that comes in ``rows`` parts, each ``depth`` long.

    The outputs are rounded ``twice`` or once, by the last call.
    """
    groups = -(-units // 4)
    vectors = _VECTOR[1] * (depth // 16) + 19.0 * (depth % 16 > 0)
    finish = groups * (14.5 + 3.0 * twice)
    return round(24.0 + groups * (21.0 + vectors) + finish / rows)


def depthwise(geometry: Geometry, channels: int, taps: RowTaps, *, signed: bool) -> int:
    """Estimate a depthwise convolution of 16 channels at a time."""
    groups, area = -(-channels // 16), geometry.kernel[0] * geometry.kernel[1]
    first, last = geometry.inside
    whole = taps.batch * sum(_lies_inside(taps, geometry, row) for row in range(taps.out_rows))
    inner = whole * (last - first)
    edge = taps.batch * taps.out_rows * geometry.out_w - inner
    finish = 18.0 * signed
    product = 15.8 if area <= 9 else 11.8
    at_edge = 69.0 + 17.0 * area + groups * (20.0 + finish + 13.1 * area)
    return round(
        45.0 * whole * groups + edge * at_edge + inner * groups * (finish + product * area)
    )


def copies(rows: int, size: int) -> int:
    """Estimate what copies of ``rows`` rows of ``size`` bytes take."""
    return round(rows * (60.0 + 6.0 * -(-size // 16)))


def _lies_inside(taps: RowTaps, geometry: Geometry, row: int) -> bool:
    """Tell whether no row of a window is padding."""
    top = row * taps.stride - taps.pad
    return top >= 0 and top + (geometry.kernel[0] - 1) * taps.dilation < taps.in_rows


def binary(name: str, outer: int, inner: int) -> int:
    """Estimate an operator of two inputs: ``outer`` rows of ``inner`` elements, four at a time."""
    vector = {"affine": 10.0, "add": 44.0, "mul": 15.9}[name] + 6.5 * (inner % 4 > 0)
    return round(32 + outer * (12.0 + vector * -(-inner // 4)))
