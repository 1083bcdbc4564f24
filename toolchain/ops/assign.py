"""ASSIGN_VARIABLE: a state takes its next value, in place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array
from toolchain.ops.base import Lowered, Op, TensorType, require
from toolchain.ops.window import Window, whole


@dataclass(frozen=True)
class Assign(Op):
    """The second input, written over the first, a state (`toolchain.ir.State`)."""

    name: ClassVar[str] = "assign"

    def infer(self, operands: Operands) -> tuple[TensorType, ...]:
        """See `Op.infer`."""
        state, value = operands.input(0), operands.input(1)
        same = state.shape == value.shape and state.dtype is value.dtype
        require(same, self, f"{list(value.shape)} does not fit a state of {list(state.shape)}")
        return (TensorType(state.shape, state.dtype),)

    def reference(self, operands: Operands, values: Sequence[Array | None]) -> tuple[Array, ...]:
        """See `Op.reference`."""
        del operands
        return (np.asarray(values[1]),)

    def windows(self, operands: Operands) -> tuple[Window, ...]:
        """See `Op.windows`."""
        return tuple(whole(tensor.shape) for tensor in operands.activations)

    def lower(self, operands: Operands) -> Lowered:
        """See `Op.lower`."""
        value = operands.input(1)
        tables = {"value": value.values} if value.is_constant else {}
        return Lowered("assign", {"bytes": value.nbytes}, tables, homes={0: 0})
