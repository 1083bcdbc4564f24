"""What operators of two inputs share: broadcasting, and the loops that it takes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array, DType, Tensor
from toolchain.numerics import Int64
from toolchain.ops.base import Lowered, Number, Op, TensorType, require, require_integers
from toolchain.ops.unary import lower_table
from toolchain.ops.window import Window, broadcast


@dataclass(frozen=True, eq=False)
class Elementwise:
    """The C of one output element: kernel, literals, and constants already prepared by input."""

    kernel: str
    numbers: Mapping[str, Number]
    tables: Mapping[int, Array] = field(default_factory=dict)


class Binary(Op):
    """An operator whose output element is a function of one element of each input.

    Shapes broadcast as in numpy: axes are aligned at the end, and an axis of size 1 is repeated.
    """

    @abstractmethod
    def evaluate(self, operands: Operands, a: Int64, b: Int64) -> Array:
        """Return the output values, in the output's type, for arrays that broadcast."""

    @abstractmethod
    def element(self, operands: Operands) -> Elementwise:
        """Return the C of one element."""

    def infer(self, operands: Operands) -> tuple[TensorType, ...]:
        """See `Op.infer`."""
        a, b = operands.input(0), operands.input(1)
        dtype = require_integers(self, a, b)
        return (TensorType(self.broadcast_shape(a, b), dtype),)

    def broadcast_shape(self, a: Tensor, b: Tensor) -> tuple[int, ...]:
        """Return the shape of the output."""
        pairs = zip(a.shape[::-1], b.shape[::-1], strict=False)
        fits = all(m == n or 1 in (m, n) for m, n in pairs)
        require(fits, self, f"shapes {list(a.shape)} and {list(b.shape)} do not broadcast")
        return tuple(int(n) for n in np.broadcast_shapes(a.shape, b.shape))

    def reference(self, operands: Operands, values: Sequence[Array | None]) -> tuple[Array, ...]:
        """See `Op.reference`."""
        a, b = (np.asarray(value, dtype=np.int64) for value in values)
        return (self.evaluate(operands, a, b),)

    def windows(self, operands: Operands) -> tuple[Window, ...]:
        """See `Op.windows`."""
        return tuple(broadcast(x.shape, operands.output.shape) for x in operands.activations)

    def lower(self, operands: Operands) -> Lowered:
        """See `Op.lower`: with a constant of one value it is a function of the other input.

        Its look-up table takes more flash than it saves instructions where there are few elements.
        """
        a, b = operands.input(0), operands.input(1)
        if operands.output.size == (1, *operands.output.shape)[-1]:
            return self._lower_loops(operands)
        if b.is_constant and b.size == 1 and a.dtype is DType.INT8 and not a.is_constant:
            value = b.values.astype(np.int64).reshape(())
            return lower_table(a, lambda x: self.evaluate(operands, x, value))
        if a.is_constant and a.size == 1 and b.dtype is DType.INT8 and not b.is_constant:
            value = a.values.astype(np.int64).reshape(())
            return lower_table(b, lambda x: self.evaluate(operands, value, x))
        return self._lower_loops(operands)

    def _lower_loops(self, operands: Operands) -> Lowered:
        inputs = (operands.input(0), operands.input(1))
        element = self.element(operands)
        tables = {
            "ab"[i]: element.tables.get(i, tensor.values)
            for i, tensor in enumerate(inputs)
            if tensor.is_constant
        }
        numbers = {
            "loops": collapse(operands.output.shape, inputs[0].shape, inputs[1].shape),
            "constant": tuple(tensor.is_constant for tensor in inputs),
            "constant_types": tuple(table.dtype.name for table in tables.values()),
            "bits": 8 * operands.output.dtype.itemsize,
            **element.numbers,
        }
        return Lowered(element.kernel, numbers, tables, in_order=True)


def collapse(
    out: tuple[int, ...], a: tuple[int, ...], b: tuple[int, ...]
) -> tuple[tuple[int, int, int], ...]:
    """Return the fewest nested loops that visit the output ``out`` in order.

    Returns:
        (count, step in a, step in b) of each loop, outermost first; a step of 0 repeats the
        input. Neighbouring axes that both inputs walk or repeat alike are one loop.
    """
    loops: list[tuple[int, int, int]] = []
    walked = [1, 1]
    for depth, count in enumerate(reversed(out)):
        repeats = [depth >= len(x) or x[-1 - depth] != count for x in (a, b)]
        if count == 1:
            continue
        steps = [0 if repeat else walk for repeat, walk in zip(repeats, walked, strict=True)]
        walked = [w if r else w * count for r, w in zip(repeats, walked, strict=True)]
        if loops and all(s == o * loops[-1][0] for s, o in zip(steps, loops[-1][1:], strict=True)):
            inner = loops.pop()
            loops.append((inner[0] * count, inner[1], inner[2]))
        else:
            loops.append((count, steps[0], steps[1]))
    return tuple(reversed(loops)) or ((1, 0, 0),)
