"""BATCH_MATMUL: products of matrices that are both computed, int8 or int16."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array, DType, Tensor
from toolchain.numerics import (
    quantize_multiplier,
    reduce_multiplier,
    requantize,
    requantize_wide,
    saturate,
)
from toolchain.ops.base import Lowered, Number, Op, TensorType, require, require_integers
from toolchain.ops.binary import collapse
from toolchain.ops.weighted import float32_product
from toolchain.ops.window import IDENTITY, AxisMap, Whole, Window, broadcast, whole

_MAX_DEPTH = 2**15 - 1  # 32 bits hold the sum of so many products


@dataclass(frozen=True)
class BatchMatMul(Op):
    """``a (..., M, K) @ b (..., K, N)``; the axes before the last two broadcast as in numpy.

    With ``transpose_a`` a is (..., K, M), with ``transpose_b`` b is (..., N, K). Sums of int8
    products have 32 bits, those of int16 products 64.
    Specification: TensorFlow Lite ``reference_ops::BatchMatMul``; the scales of a and b are
    multiplied in float32.
    """

    name: ClassVar[str] = "batch_matmul"
    transpose_a: bool = False
    transpose_b: bool = False

    def infer(self, operands: Operands) -> tuple[TensorType, ...]:
        """See `Op.infer`."""
        a, b = operands.input(0), operands.input(1)
        dtype = require_integers(self, a, b, *operands.outputs)
        shapes = f"shapes {list(a.shape)} and {list(b.shape)}"
        require(min(len(a.shape), len(b.shape)) >= 2, self, f"{shapes}: matrices are needed")
        (rows, depth), (other, columns) = self._matrices(a, b)
        require(depth == other, self, f"{shapes} do not fit")
        require(depth <= _MAX_DEPTH, self, f"more than {_MAX_DEPTH} products leave a 32-bit sum")
        pairs = zip(a.shape[-3::-1], b.shape[-3::-1], strict=False)
        require(all(m == n or 1 in (m, n) for m, n in pairs), self, f"{shapes} do not broadcast")
        batch = (int(n) for n in np.broadcast_shapes(a.shape[:-2], b.shape[:-2]))
        return (TensorType((*batch, rows, columns), dtype),)

    def product(self, a: Array, b: Array) -> Array:
        """Return the product of the operands as they are: also the meaning in real numbers."""
        left = a.swapaxes(-1, -2) if self.transpose_a else a
        right = b.swapaxes(-1, -2) if self.transpose_b else b
        return np.asarray(left @ right)

    def reference(self, operands: Operands, values: Sequence[Array | None]) -> tuple[Array, ...]:
        """See `Op.reference`."""
        a, b, y = operands.input(0), operands.input(1), operands.output
        # float64 sums of these products are exact, and a matrix product is fast.
        left, right = (
            np.asarray(value, dtype=np.float64) - tensor.zero_point
            for value, tensor in zip(values, (a, b), strict=True)
        )
        total = self.product(left, right).astype(np.int64)
        scale = requantize_wide if y.dtype is DType.INT16 else requantize
        scaled = scale(total, *self._multiplier(operands)) + y.zero_point
        return (saturate(scaled, y.dtype.limits, y.dtype),)

    def macs(self, operands: Operands) -> int:
        """See `Op.macs`."""
        (_, depth), _ = self._matrices(operands.input(0), operands.input(1))
        return operands.output.size * depth

    def windows(self, operands: Operands) -> tuple[Window, ...]:
        """See `Op.windows`: rows of a follow the output's, columns of b do."""
        places = (
            (operands.input(0), -2, self.transpose_a),
            (operands.input(1), -1, self.transpose_b),
        )
        return tuple(
            _window(x, operands.output, None if swapped else axis)
            for x, axis, swapped in places
            if not x.is_constant
        )

    def lower(self, operands: Operands) -> Lowered:
        """See `Op.lower`."""
        a, b, y = operands.input(0), operands.input(1), operands.output
        (rows, depth), (_, columns) = self._matrices(a, b)
        multiplier, shift = self._multiplier(operands)
        wide = y.dtype is DType.INT16
        if wide:  # as `requantize_wide` has it
            multiplier, shift = int(reduce_multiplier(np.array(multiplier))), 15 - shift
        tables = {"ab"[i]: tensor.values for i, tensor in enumerate((a, b)) if tensor.is_constant}
        numbers: dict[str, Number] = {
            "loops": collapse(y.shape[:-2], a.shape[:-2], b.shape[:-2]),
            "rows": rows,
            "depth": depth,
            "columns": columns,
            "types": (f"{a.dtype.value}_t", f"{b.dtype.value}_t"),
            "a_steps": (1, rows) if self.transpose_a else (depth, 1),
            "b_steps": (1, depth) if self.transpose_b else (columns, 1),
            "constant": (a.is_constant, b.is_constant),
            "constant_types": tuple(table.dtype.name for table in tables.values()),
            "zero": (a.zero_point, b.zero_point),
            "multiplier": multiplier,
            "shift": shift,
            "y_zero": y.zero_point,
            "y_min": y.dtype.limits[0],
            "y_max": y.dtype.limits[1],
        }
        return Lowered("batch_matmul_16" if wide else "batch_matmul", numbers, tables)

    def _matrices(self, a: Tensor, b: Tensor) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return (M, K) and (K, N)."""
        left, right = a.shape[-2:], b.shape[-2:]
        return left[::-1] if self.transpose_a else left, right[::-1] if self.transpose_b else right

    def _multiplier(self, operands: Operands) -> tuple[int, int]:
        a, b, y = operands.input(0), operands.input(1), operands.output
        multiplier, shift = quantize_multiplier(float32_product(a, b) / y.scale)
        legal = y.dtype is DType.INT8 or shift <= 7
        require(legal, self, "the output's scale is over 128 times too fine")
        return multiplier, shift


def _window(x: Tensor, y: Tensor, axis: int | None) -> Window:
    """Return the window on ``x``, of which ``axis`` alone of the last two follows the output."""
    if len(x.shape) != len(y.shape):
        return whole(x.shape)
    outer = broadcast(x.shape[:-2], y.shape[:-2]).axes
    inner: tuple[AxisMap, ...] = tuple(
        IDENTITY if place == axis else Whole(x.shape[place]) for place in (-2, -1)
    )
    return Window((*outer, *inner))
