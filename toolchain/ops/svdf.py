"""SVDF: a fully connected layer over time, its weights of rank one in time and features, int8."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array, DType
from toolchain.numerics import Int64, quantize_multiplier, requantize, saturate
from toolchain.ops.base import Lowered, Number, Op, TensorType, require
from toolchain.ops.window import Window, whole

STATE = 4  # the input that is updated


@dataclass(frozen=True)
class Svdf(Op):
    """Filters of features (F, I) and of time (F, T) over x (B, I); units sum ``rank`` filters each.

    Inputs are x, both weights, the bias (F / rank,) or ``None``, and the state (B, F * T): the last
    T outputs of every feature filter, int8 or int16 as the weights of time. Outputs are y
    (B, F / rank) and the state. Reference: C. Nakkiran et al., "Compressing Deep Neural Networks
    using a Rank-Constrained Topology", Interspeech 2015; TFLite Micro ``EvalIntegerSvdfReference``.
    """

    name: ClassVar[str] = "svdf"
    rank: int = 1

    def infer(self, operands: Operands) -> tuple[TensorType, ...]:
        """See `Op.infer`."""
        require(len(operands.inputs) > STATE, self, "a state is needed")
        x, features, time, state = (operands.input(i) for i in (0, 1, 2, STATE))
        bias = operands.optional(3)
        ranks = {len(t.shape) for t in (x, features, time)}
        require(ranks == {2}, self, "x and weights need rank 2")
        (batch, inputs), (filters, memory) = x.shape, time.shape
        require(features.shape == (filters, inputs), self, f"features are not {filters, inputs}")
        require(filters % self.rank == 0, self, f"{filters} filters do not divide by {self.rank}")
        sized = state.size == batch * filters * memory
        require(sized, self, f"the state must hold {batch * filters * memory} elements")
        require(x.dtype is features.dtype is DType.INT8, self, "x and features must be int8")
        kinds = (DType.INT8, DType.INT16)
        require(time.dtype is state.dtype and state.dtype in kinds, self, "the state must be int8")
        require(features.is_constant and time.is_constant, self, "weights must be constant")
        units = filters // self.rank
        fits = bias is None or (bias.shape == (units,) and bias.is_constant)
        require(fits, self, f"bias must be ({units},)")
        return TensorType((batch, units), DType.INT8), TensorType(state.shape, state.dtype)

    def reference(self, operands: Operands, values: Sequence[Array | None]) -> tuple[Array, ...]:
        """See `Op.reference`."""
        x, state, y = operands.input(0), operands.input(STATE), operands.outputs[0]
        features, time = (operands.input(i).values.astype(np.int64) for i in (1, 2))
        first, second = self._scales(operands)
        centred = np.asarray(values[0], dtype=np.int64) - x.zero_point
        # TFLite Micro clamps before it adds the zero point, and lets the sum wrap.
        clamped = np.clip(requantize(centred @ features.T, *first), *state.dtype.limits)
        newest = (clamped + state.zero_point).astype(state.dtype.numpy).astype(np.int64)
        old = np.asarray(values[STATE], dtype=np.int64).reshape(x.shape[0], *time.shape)
        memory = np.concatenate([old[:, :, 1:], newest[:, :, None]], axis=2)
        summed = ((memory - state.zero_point) * time).sum(axis=2)
        total = summed.reshape(*y.shape, self.rank).sum(axis=2) + self._bias(operands)
        scaled = requantize(_wrapped(total), *second) + y.zero_point
        after = memory.reshape(state.shape).astype(state.dtype.numpy)
        return saturate(scaled, y.dtype.limits, y.dtype), after

    def macs(self, operands: Operands) -> int:
        """See `Op.macs`."""
        batch = operands.input(0).shape[0]
        return batch * (operands.input(1).size + operands.input(2).size)

    def windows(self, operands: Operands) -> tuple[Window, ...]:
        """See `Op.windows`."""
        return tuple(whole(tensor.shape) for tensor in operands.activations)

    def lower(self, operands: Operands) -> Lowered:
        """See `Op.lower`: zero points are folded into what sums start from."""
        x, state, y = operands.input(0), operands.input(STATE), operands.outputs[0]
        features, time = operands.input(1).values, operands.input(2).values
        starts = -x.zero_point * features.astype(np.int64).sum(1)
        shares = time.astype(np.int64).sum(1).reshape(-1, self.rank).sum(1)
        bias = _wrapped(self._bias(operands) - state.zero_point * shares)
        low, high = state.dtype.limits
        numbers: dict[str, Number] = {
            "batch": x.shape[0],
            "inputs": x.shape[1],
            "units": y.shape[1],
            "rank": self.rank,
            "memory": time.shape[1],
            "scales": self._scales(operands),
            "state_zero": state.zero_point,
            "state_min": low,
            "state_max": high,
            "y_zero": y.zero_point,
            "time_bits": 8 * time.dtype.itemsize,
        }
        tables: dict[str, Array] = {
            "features": features,
            "starts": starts.astype(np.int32),
            "time": time,
            "bias": bias.astype(np.int32),
        }
        return Lowered("svdf", numbers, tables, homes={1: STATE})

    def _scales(self, operands: Operands) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return multiplier and shift into the state and out of it, ratios of float32."""
        x, features, time, state = (operands.input(i) for i in (0, 1, 2, STATE))
        y = operands.outputs[0]
        into = np.float32(x.scale) * np.float32(features.scale) / np.float32(state.scale)
        out = np.float32(state.scale) * np.float32(time.scale) / np.float32(y.scale)
        return quantize_multiplier(float(into)), quantize_multiplier(float(out))

    def _bias(self, operands: Operands) -> Int64:
        bias, units = operands.optional(3), operands.input(1).shape[0] // self.rank
        return np.zeros(units, np.int64) if bias is None else bias.values.astype(np.int64)


def _wrapped(x: Int64) -> Int64:
    """Return ``x`` as a 32-bit register holds it."""
    return ((x + 2**31) & (2**32 - 1)) - 2**31
