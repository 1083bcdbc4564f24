"""DEQUANTIZE: integers to real numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array, DType
from toolchain.ops.base import Lowered, Number, Op, TensorType, require
from toolchain.ops.window import Window, broadcast


@dataclass(frozen=True)
class Dequantize(Op):
    """``scale * (x - zero_point)`` in float32, for int8, uint8 or int16 x.

    Specification: TensorFlow Lite ``reference_ops::Dequantize``, which multiplies in double
    precision and rounds once; with at most 17 bits in the difference float32 rounds the same.
    """

    name: ClassVar[str] = "dequantize"

    def infer(self, operands: Operands) -> tuple[TensorType, ...]:
        """See `Op.infer`."""
        x = operands.input(0)
        legal = x.dtype in {DType.INT4, DType.INT8, DType.UINT8, DType.INT16}
        require(legal, self, f"{x.dtype.value} to float32 is not supported")
        return (TensorType(x.shape, DType.FLOAT32),)

    def reference(self, operands: Operands, values: Sequence[Array | None]) -> tuple[Array, ...]:
        """See `Op.reference`."""
        x = operands.input(0)
        centred = np.asarray(values[0], dtype=np.int64) - x.zero_point
        return (np.float32(x.scale) * centred.astype(np.float32),)

    def windows(self, operands: Operands) -> tuple[Window, ...]:
        """See `Op.windows`."""
        return (broadcast(operands.input(0).shape, operands.output.shape),)

    def lower(self, operands: Operands) -> Lowered:
        """See `Op.lower`."""
        x = operands.input(0)
        numbers: dict[str, Number] = {
            "size": x.size,
            "scale": x.scale,
            "x_zero": x.zero_point,
        }
        return Lowered("dequantize", numbers, in_order=x.dtype.itemsize == 1)
