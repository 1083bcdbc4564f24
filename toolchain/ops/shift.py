"""Shift: new rows enter a delay line, the oldest leave it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array
from toolchain.ops.base import Lowered, Op, TensorType, require
from toolchain.ops.window import Window, whole

_ROWS = 1


@dataclass(frozen=True)
class Shift(Op):
    """A state of rows along axis 1, moved towards the front in place, with new rows at its end.

    What a sliding window over time sees: ``concat(state[:, n:], x)`` for ``n`` new rows ``x``.
    """

    name: ClassVar[str] = "shift"

    def infer(self, operands: Operands) -> tuple[TensorType, ...]:
        """See `Op.infer`."""
        state, x = operands.input(0), operands.input(1)
        fits = len(x.shape) == len(state.shape) > _ROWS and state.shape[0] == x.shape[0] == 1
        fits = fits and x.shape[2:] == state.shape[2:] and x.shape[_ROWS] <= state.shape[_ROWS]
        require(fits, self, f"{list(x.shape)} is no new part of {list(state.shape)}")
        require(x.dtype is state.dtype, self, "both need one element type")
        return (TensorType(state.shape, state.dtype),)

    def reference(self, operands: Operands, values: Sequence[Array | None]) -> tuple[Array, ...]:
        """See `Op.reference`."""
        new = operands.input(1).shape[_ROWS]
        state, x = np.asarray(values[0]), np.asarray(values[1])
        return (np.concatenate([state[:, new:], x], axis=_ROWS),)

    def windows(self, operands: Operands) -> tuple[Window, ...]:
        """See `Op.windows`."""
        return tuple(whole(tensor.shape) for tensor in operands.activations)

    def lower(self, operands: Operands) -> Lowered:
        """See `Op.lower`."""
        state, x = operands.input(0), operands.input(1)
        numbers = {"kept": state.nbytes - x.nbytes, "bytes": x.nbytes}
        return Lowered("shift", numbers, homes={0: 0})
