"""UNIDIRECTIONAL_SEQUENCE_LSTM: int8 or int16 activations, int8 weights, int16 cells."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from toolchain import interpolated
from toolchain.interpolated import Scaling, sigmoid_table
from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array, DType, Tensor
from toolchain.numerics import (
    Int64,
    quantize_multiplier,
    reduce_multiplier,
    requantize,
    requantize_wide,
)
from toolchain.ops.base import Lowered, Number, Op, TensorType, require, require_integers
from toolchain.ops.window import Window, whole

GATES = 4  # input, forget, cell, output
INPUT, RECURRENT, BIAS, HIDDEN, CELL = 1, 5, 9, 13, 14
_GATE_SCALE = 2.0**-12
_UNIT = 2.0**-15  # of what gates give
_SUM = Scaling(3, 0)  # sums of gates have the scale that the sigmoid table is made for

Scale = tuple[int, int]


class Gate(NamedTuple):
    """One gate: weights (S, I) and (S, S), bias (S,), multiplier and shift of either sum."""

    input: Int64
    recurrent: Int64
    bias: Int64
    input_scale: Scale
    recurrent_scale: Scale


@dataclass(frozen=True)
class Lstm(Op):
    """A layer of S LSTM cells over x (batch, time, I), or (time, batch, I) with ``time_major``.

    Inputs are x; the weights of x (S, I) for the input, forget, cell and output gates; those of the
    hidden state (S, S); four biases (S,); the hidden state and the cells (batch, S). Outputs are y
    (x's shape with S for I), the hidden state and the cells. With int16 x sums have 64 bits, and
    biases too. Reference: S. Hochreiter and J. Schmidhuber, "Long Short-Term Memory", Neural
    Computation 9(8), 1997; TFLite Micro ``lstm_eval``.

    Attributes:
        time_major: whether time is the first axis.
        cell_clip: greatest magnitude of a cell, 0 for none.
    """

    name: ClassVar[str] = "lstm"
    time_major: bool = False
    cell_clip: float = 0.0

    def infer(self, operands: Operands) -> tuple[TensorType, ...]:
        """See `Op.infer`."""
        x, hidden, cell = (operands.input(i) for i in (0, HIDDEN, CELL))
        require(len(x.shape) == 3, self, "x needs rank 3")
        dtype = x.dtype
        require(dtype in (DType.INT8, DType.INT16), self, "x must be int8 or int16")
        if dtype is DType.INT16:
            require_integers(self, x, hidden)
        require(hidden.dtype is dtype, self, "the hidden state needs the type of x")
        require(cell.dtype is DType.INT16, self, "cells must be int16")
        flat = len(operands.input(RECURRENT).shape) == 2
        require(flat, self, "weights of the hidden state need rank 2")
        units = operands.input(RECURRENT).shape[0]
        batch = x.shape[1 if self.time_major else 0]
        sized = hidden.size == cell.size == batch * units
        require(sized, self, f"states must hold {batch * units} elements")
        for index in range(GATES):
            self._check_gate(operands, index, (units, x.shape[2]))
        require(not cell.quant or not cell.zero_point, self, "cells must have zero point 0")
        self._power(cell)
        outputs = TensorType((*x.shape[:2], units), dtype)
        return outputs, TensorType(hidden.shape, dtype), TensorType(cell.shape, cell.dtype)

    def _check_gate(self, operands: Operands, index: int, shape: tuple[int, int]) -> None:
        units = shape[0]
        for first, expected in ((INPUT, shape), (RECURRENT, (units, units)), (BIAS, (units,))):
            tensor = operands.input(first + index)
            require(tensor.is_constant, self, "weights and biases must be constant")
            require(tensor.shape == expected, self, f'"{tensor.name}" must be {list(expected)}')
            if first != BIAS:
                require(tensor.dtype is DType.INT8, self, "weights must be int8")
                alone = tensor.quant is None or not any(tensor.quant.zero_points)
                require(alone, self, "weights must have zero point 0")

    def _power(self, cell: Tensor) -> int:
        """Return the power of two of the cells' scale."""
        if cell.quant is None:
            return 0
        power = round(math.log2(cell.scale))
        exact = abs(math.log2(cell.scale) - power) < 1e-3 and -27 <= power <= 0
        require(exact, self, "the cells' scale must be a power of two up to 1")
        return power

    def reference(self, operands: Operands, values: Sequence[Array | None]) -> tuple[Array, ...]:
        """See `Op.reference`."""
        x = np.asarray(values[0], dtype=np.int64)
        steps = x if self.time_major else x.swapaxes(0, 1)
        units = operands.input(RECURRENT).shape[0]
        shape = (steps.shape[1], units)
        hidden = np.asarray(values[HIDDEN], dtype=np.int64).reshape(shape)
        cell = np.asarray(values[CELL], dtype=np.int64).reshape(shape)
        outputs = []
        for step in steps:
            hidden, cell = self._step(operands, step, hidden, cell)
            outputs.append(hidden)
        y = np.stack(outputs)
        made = (y if self.time_major else y.swapaxes(0, 1), hidden, cell)
        return tuple(
            value.reshape(tensor.shape).astype(tensor.dtype.numpy)
            for value, tensor in zip(made, operands.outputs, strict=True)
        )

    def _step(
        self, operands: Operands, x: Int64, hidden: Int64, cell: Int64
    ) -> tuple[Int64, Int64]:
        """Return hidden state and cells after one step in time."""
        before, state = operands.input(0), operands.input(HIDDEN)
        rescale = requantize_wide if before.dtype is DType.INT16 else requantize
        sums = []
        for gate in self._gates(operands):
            fresh = (x - before.zero_point) @ gate.input.T + gate.bias
            again = (hidden - state.zero_point) @ gate.recurrent.T
            parts = rescale(fresh, *gate.input_scale), rescale(again, *gate.recurrent_scale)
            sums.append(_short(_short(parts[0]) + _short(parts[1])))
        take, keep, give = (interpolated.logistic(_SUM.apply(sums[i])) for i in (0, 1, 3))
        new = interpolated.tanh(_SUM.apply(sums[2]))
        kept, added, out = self._products(operands)
        cell = _short(
            _short(requantize(keep * cell, *kept)) + _short(requantize(take * new, *added))
        )
        limit = self._clip(operands.input(CELL))
        cell = np.clip(cell, -limit, limit) if limit else cell
        level = interpolated.tanh(self._tanh(operands.input(CELL)).apply(cell))
        scaled = requantize(level * give, *out) + state.zero_point
        return np.clip(scaled, *state.dtype.limits), cell

    def _gates(self, operands: Operands) -> Iterator[Gate]:
        x, hidden = operands.input(0), operands.input(HIDDEN)
        for index in range(GATES):
            weights, recurrent = operands.input(INPUT + index), operands.input(RECURRENT + index)
            yield Gate(
                weights.values.astype(np.int64),
                recurrent.values.astype(np.int64),
                operands.input(BIAS + index).values.astype(np.int64),
                _gate_scale(x, weights),
                _gate_scale(hidden, recurrent),
            )

    def _products(self, operands: Operands) -> tuple[Scale, Scale, Scale]:
        """Return the scales of forget gate x cell, input gate x new cell, and the hidden state."""
        cell, hidden = operands.input(CELL), operands.input(HIDDEN)
        return (
            quantize_multiplier(_UNIT * cell.scale / cell.scale),
            quantize_multiplier(_UNIT * _UNIT / cell.scale),
            quantize_multiplier(_UNIT * _UNIT / hidden.scale),
        )

    def _tanh(self, cell: Tensor) -> Scaling:
        """Return how cells are brought to the table."""
        up = self._power(cell) + 12
        return Scaling(3 << up, 0) if up >= 0 else Scaling(3, -up)

    def _clip(self, cell: Tensor) -> int:
        ratio = float(np.float32(self.cell_clip)) / cell.scale
        return int(min(max(ratio, -(2.0**15)), 2.0**15 - 1))

    def macs(self, operands: Operands) -> int:
        """See `Op.macs`."""
        weights = sum(operands.input(i).size for i in range(INPUT, BIAS))
        return math.prod(operands.input(0).shape[:2]) * weights

    def windows(self, operands: Operands) -> tuple[Window, ...]:
        """See `Op.windows`."""
        return tuple(whole(tensor.shape) for tensor in operands.activations)

    def lower(self, operands: Operands) -> Lowered:
        """See `Op.lower`: zero points are folded into what sums start from."""
        x, hidden, cell = (operands.input(i) for i in (0, HIDDEN, CELL))
        wide = x.dtype is DType.INT16
        gates = list(self._gates(operands))
        sums = np.int64 if wide else np.int32
        starts = [g.bias - x.zero_point * g.input.sum(1) for g in gates]
        again = [-hidden.zero_point * g.recurrent.sum(1) for g in gates]
        batch, steps = x.shape[:2] if not self.time_major else x.shape[1::-1]
        low, high = hidden.dtype.limits
        limit = self._clip(cell)
        numbers: dict[str, Number] = {
            "batch": batch,
            "steps": steps,
            "time_major": self.time_major,
            "inputs": x.shape[2],
            "units": operands.input(RECURRENT).shape[0],
            "wide": wide,
            "products": self._products(operands),
            "tanh": tuple(self._tanh(cell)),
            "cell_min": -limit if limit else -(2**15),
            "cell_max": limit or 2**15 - 1,
            "h_zero": hidden.zero_point,
            "h_min": low,
            "h_max": high,
        }
        tables: dict[str, Array] = {
            "weights": np.stack([g.input for g in gates]).astype(np.int8),
            "recurrent": np.stack([g.recurrent for g in gates]).astype(np.int8),
            "starts": np.stack(starts).astype(sums),
            "again": np.stack(again).astype(np.int32),
            "scales": np.array([_words(g, wide=wide) for g in gates], dtype=np.int32),
            "sigmoid": (sigmoid_table() - 2**15).astype(np.int16),
        }
        scratch = -(-GATES * 2 * operands.input(RECURRENT).shape[0] // 4) * 4
        return Lowered("lstm_16", numbers, tables, scratch, homes={1: HIDDEN, 2: CELL})


def _gate_scale(x: Tensor, weights: Tensor) -> Scale:
    # In double precision, unlike fully connected layers: 16 bits of the multiplier show it.
    return quantize_multiplier(
        float(np.float32(x.scale)) * float(np.float32(weights.scale)) / _GATE_SCALE
    )


def _short(x: Int64) -> Int64:
    """Saturate to 16 bits."""
    return np.clip(x, -(2**15), 2**15 - 1)


def _words(gate: Gate, *, wide: bool) -> tuple[int, int, int, int]:
    """Return multiplier and shift of either sum as the C takes them."""
    words: list[int] = []
    for multiplier, shift in (gate.input_scale, gate.recurrent_scale):
        reduced = int(reduce_multiplier(np.array(multiplier)))
        words += [reduced, 15 - shift] if wide else [multiplier, shift]
    return words[0], words[1], words[2], words[3]
