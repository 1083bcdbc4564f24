"""Functions of one 8-bit element: whatever they mean, their C is a look-up table."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np

from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array, DType, Tensor
from toolchain.numerics import Int64
from toolchain.ops.base import Lowered, Op, TensorType, require, require_integers
from toolchain.ops.window import Window, broadcast

EIGHT_BITS = (DType.INT8, DType.UINT8)


class Unary(Op):
    """An operator whose output element is a function of the input element at its place.

    Attributes:
        types: element types that it takes.
    """

    types: ClassVar[tuple[DType, ...]] = (DType.INT8,)

    @abstractmethod
    def evaluate(self, operands: Operands, x: Int64) -> Array:
        """Return the output values, in the output's type, for input values ``x``."""

    def infer(self, operands: Operands) -> tuple[TensorType, ...]:
        """See `Op.infer`."""
        x = operands.input(0)
        require(
            x.dtype in self.types, self, f"x must be {' or '.join(t.value for t in self.types)}"
        )
        return (TensorType(x.shape, require_integers(self, x)),)

    def reference(self, operands: Operands, values: Sequence[Array | None]) -> tuple[Array, ...]:
        """See `Op.reference`."""
        return (self.evaluate(operands, np.asarray(values[0], dtype=np.int64)),)

    def windows(self, operands: Operands) -> tuple[Window, ...]:
        """See `Op.windows`."""
        return (broadcast(operands.input(0).shape, operands.output.shape),)

    def lower(self, operands: Operands) -> Lowered:
        """See `Op.lower`."""
        return lower_table(operands.input(0), lambda x: self.evaluate(operands, x))


def lower_table(x: Tensor, function: Callable[[Int64], Array]) -> Lowered:
    """Return the look-up table of a function of one 8-bit element, by bit pattern."""
    codes = np.arange(256, dtype=np.uint8).view(x.dtype.numpy)
    table = function(codes.astype(np.int64))
    return Lowered("table", {"size": x.size}, {"table": table}, in_order=True)


def require_output(op: Op, operands: Operands, scale: float, zero_point: int) -> None:
    """Raise E206 unless the output carries the only quantisation the kernel can make."""
    for quant in (tensor.quant for tensor in operands.outputs):
        fits = quant is None or (quant.scales, quant.zero_points) == ((scale,), (zero_point,))
        require(fits, op, f"the output must have scale {scale} and zero point {zero_point}")
