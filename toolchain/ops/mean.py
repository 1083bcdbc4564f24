"""MEAN: the mean over any axes, int8."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array, DType, Tensor
from toolchain.numerics import quantize_multiplier, requantize, saturate
from toolchain.ops.base import Lowered, TensorType, require
from toolchain.ops.fold import lower_fold
from toolchain.ops.reduction import Reduction


@dataclass(frozen=True)
class Mean(Reduction):
    """The mean of x over ``axes`` (not negative, increasing), which stay as 1 with ``keep_dims``.

    The division is part of the requantisation: its multiplier is divided by the number of
    elements, as TFLite's integer reference does for every shape and axis.
    """

    name: ClassVar[str] = "mean"

    def infer(self, operands: Operands) -> tuple[TensorType, ...]:
        """See `Op.infer`."""
        x, inferred = operands.input(0), super().infer(operands)
        require(_exact(x, self._count(operands)), self, "so many elements leave a 32-bit sum")
        return inferred

    def reference(self, operands: Operands, values: Sequence[Array | None]) -> tuple[Array, ...]:
        """See `Op.reference`."""
        x, y = operands.input(0), operands.output
        total = np.asarray(values[0], dtype=np.int64).sum(axis=self.axes)
        centred = total - x.zero_point * self._count(operands)
        scaled = requantize(centred, *self._multiplier(operands)) + y.zero_point
        return (saturate(scaled, y.dtype.limits, y.dtype).reshape(y.shape),)

    def lower(self, operands: Operands) -> Lowered:
        """See `Op.lower`."""
        x, y = operands.input(0), operands.output
        multiplier, shift = self._multiplier(operands)
        return Lowered(
            "mean",
            {
                **self.loops(operands),
                "offset": -x.zero_point * self._count(operands),
                "multiplier": multiplier,
                "shift": shift,
                "y_zero": y.zero_point,
                "y_min": y.dtype.limits[0],
                "y_max": y.dtype.limits[1],
            },
        )

    def fold(self, operands: Operands) -> Lowered | None:
        """See `Op.fold`: the mean over all rows and columns."""
        x, y = operands.input(0), operands.output
        if len(x.shape) != 4 or x.shape[0] != 1 or self.axes != (1, 2) or x.dtype != DType.INT8:
            return None
        multiplier, shift = self._multiplier(operands)
        low, high = y.dtype.limits
        scale = {"multiplier": multiplier, "shift": shift, "y_zero": y.zero_point}
        start = -x.zero_point * self._count(operands)
        return lower_fold(x, start, {**scale, "y_min": low, "y_max": high})

    def _count(self, operands: Operands) -> int:
        return math.prod(operands.input(0).shape[axis] for axis in self.axes)

    def _multiplier(self, operands: Operands) -> tuple[int, int]:
        """Divide ``s_x / s_y`` by the number of elements, keeping as many bits as TFLite does."""
        count = self._count(operands)
        multiplier, shift = quantize_multiplier(operands.input(0).scale / operands.output.scale)
        spare = min(count.bit_length() - 1, 32, 31 + shift)
        return (multiplier << spare) // count, shift - spare


def _exact(x: Tensor, count: int) -> bool:
    """Tell whether ``count`` centred elements of ``x`` can be summed in 32 bits."""
    low, high = x.dtype.limits
    return count * (high - low) < 2**31
