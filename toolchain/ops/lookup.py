"""Functions of one element that are computed in real numbers, once, when the table is made."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from toolchain.interpolated import function_table, look_up
from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array, DType
from toolchain.numerics import Int64, saturate
from toolchain.ops.base import Lowered
from toolchain.ops.unary import Unary

Reals = npt.NDArray[np.float32]


class Lookup(Unary):
    """An operator whose table holds a real function, rounded half away from zero.

    For int8 every value has its entry, for int16 a table of 513 points is interpolated
    (`toolchain.interpolated`).
    Specification: TensorFlow Lite ``LUTPopulate`` (``kernels/internal/common.h``), in float32.
    """

    types: ClassVar[tuple[DType, ...]] = (DType.INT8, DType.INT16)

    @abstractmethod
    def real(self, x: Reals) -> Reals:
        """Return the function's values for real ``x``."""

    def evaluate(self, operands: Operands, x: Int64) -> Array:
        """See `Unary.evaluate`."""
        source, y = operands.input(0), operands.output
        if y.dtype is DType.INT16:
            return look_up(x, self._points(operands)).astype(np.int16)
        inverse = np.float32(1) / np.float32(y.scale)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            values = self.real(
                (x - source.zero_point).astype(np.float32) * np.float32(source.scale)
            )
            scaled = np.asarray(values, np.float32) * inverse
        bounded = np.clip(np.nan_to_num(scaled, posinf=2**20, neginf=-(2**20)), -(2**20), 2**20)
        rounded = np.trunc(bounded + np.copysign(0.5, bounded)).astype(np.int64)
        return saturate(rounded + y.zero_point, y.dtype.limits, y.dtype)

    def lower(self, operands: Operands) -> Lowered:
        """See `Op.lower`."""
        x = operands.input(0)
        if x.dtype is not DType.INT16:
            return super().lower(operands)
        tables = {"table": self._points(operands).astype(np.int16)}
        return Lowered("table_16", {"size": x.size}, tables, in_order=True)

    def _points(self, operands: Operands) -> Int64:
        return function_table(self.real, operands.input(0).scale, operands.output.scale)
