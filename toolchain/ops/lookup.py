"""Functions of one element that are computed in real numbers, once, when the table is made."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import numpy.typing as npt

from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array
from toolchain.numerics import Int64, saturate
from toolchain.ops.unary import Unary

Reals = npt.NDArray[np.float32]


class Lookup(Unary):
    """An operator whose table holds a real function, rounded half away from zero.

    Specification: TensorFlow Lite ``LUTPopulate`` (``kernels/internal/common.h``), in float32.
    """

    @abstractmethod
    def real(self, x: Reals) -> Reals:
        """Return the function's values for real ``x``."""

    def evaluate(self, operands: Operands, x: Int64) -> Array:
        """See `Unary.evaluate`."""
        source, y = operands.input(0), operands.output
        inverse = np.float32(1) / np.float32(y.scale)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            values = self.real(
                (x - source.zero_point).astype(np.float32) * np.float32(source.scale)
            )
            scaled = np.asarray(values, np.float32) * inverse
        bounded = np.clip(np.nan_to_num(scaled, posinf=2**20, neginf=-(2**20)), -(2**20), 2**20)
        rounded = np.trunc(bounded + np.copysign(0.5, bounded)).astype(np.int64)
        return saturate(rounded + y.zero_point, y.dtype.limits, y.dtype)
