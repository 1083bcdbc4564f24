"""What every operator answers.

An operator is a small frozen dataclass of its attributes. Five questions are asked of it, always
with the node's resolved tensors (`Operands`): the type of its outputs, its exact integer meaning,
its cost, its windows, and the numbers that its C template needs. Its C is the template of the same
name in ``firmware_templates/kernels``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from toolchain.errors import ModelError
from toolchain.ir.graph import Operands
from toolchain.ir.tensor import Array, DType, Tensor
from toolchain.ops.window import Window

Number = int | float | bool | str | tuple["Number", ...]


class TensorType(NamedTuple):
    """Shape and element type of an output."""

    shape: tuple[int, ...]
    dtype: DType


@dataclass(frozen=True)
class RowTaps:
    """How a row kernel walks over its input.

    The C function of a row kernel makes one output row, or ``rows`` at once. It is given ``count``
    pointers, one per input row that these need; a null pointer stands for a row of padding. A layer
    calls it for all output rows of a whole map, a streaming stage calls the same function on a ring
    of rows.

    Attributes:
        count: input rows per call.
        stride: input rows per output row.
        dilation: distance between kernel rows, in input rows.
        pad: rows of padding above the map.
        batch: number of maps.
        in_rows: rows of the input map.
        out_rows: rows of the output map.
        in_row_size: elements of an input row.
        out_row_size: elements of an output row.
        rows: output rows per call, a divisor of ``out_rows``.
        lines: for windows that move by no fixed stride, elements per output row of the first
            tables. The C function is handed the line of its row; the first one begins with the
            ``count`` input rows to point to. ``stride``, ``dilation`` and ``pad`` then say nothing.
    """

    count: int
    stride: int
    dilation: int
    pad: int
    batch: int
    in_rows: int
    out_rows: int
    in_row_size: int
    out_row_size: int
    rows: int = 1
    lines: tuple[int, ...] = ()

    @property
    def padded(self) -> bool:
        """Tell whether any pointer may be null."""
        if self.lines:
            return False
        last_call = (self.out_rows - self.rows) * self.stride - self.pad
        last = last_call + (self.count - 1) * self.dilation
        return self.pad > 0 or last >= self.in_rows

    @property
    def sees_rows(self) -> bool:
        """Tell whether every call is given a row of the map, not padding alone."""
        starts = (row * self.stride - self.pad for row in range(0, self.out_rows, self.rows))
        reach = range(0, self.count * self.dilation, self.dilation)
        return all(any(0 <= first + tap < self.in_rows for tap in reach) for first in starts)


@dataclass(frozen=True, eq=False)
class Lowered:
    """The numbers of a node's C.

    Attributes:
        kernel: name of the template, without its instruction-set suffix. Empty for an operator
            that moves nothing (a view): its output is its input's buffer.
        numbers: literals that specialise the code; nodes with equal numbers share one C function.
        tables: constants that the code reads from flash (weights, biases, multipliers), passed to
            the function as pointers, in this order.
        scratch_bytes: working memory of the portable kernel in the arena.
        in_order: whether the portable kernel keeps the order that overlap needs (see
            `toolchain.kernels.base.Specialised`).
        taps: set if the portable kernel is a row kernel (it is then in order by construction).
        by_channel: whether the portable row kernel makes a row channel by channel, and a channel
            from left to right, reading a column before it writes it (it is then in order by rows).
        over_row: whether it may write the row over one that it is made from (`Specialised`).
        homes: outputs that every kernel updates in the buffer of an input, by number: how states
            change.
    """

    kernel: str
    numbers: Mapping[str, Number]
    tables: Mapping[str, Array] = field(default_factory=dict)
    scratch_bytes: int = 0
    in_order: bool = False
    taps: RowTaps | None = None
    by_channel: bool = False
    over_row: bool = False
    homes: Mapping[int, int] = field(default_factory=dict)


class Op(ABC):
    """Base of all operators."""

    name: ClassVar[str]
    real_constants: ClassVar[bool] = False
    """Whether its constants stay real numbers in an integer graph, and become integers in C."""

    @abstractmethod
    def infer(self, operands: Operands) -> tuple[TensorType, ...]:
        """Return the types of the outputs.

        Only ``operands.inputs`` may be read, and the outputs' element type where the operator
        leaves it open.

        Raises:
            ModelError: E206 if the operands are not legal for this operator.
        """

    @abstractmethod
    def reference(self, operands: Operands, values: Sequence[Array | None]) -> tuple[Array, ...]:
        """Return the outputs for the input ``values``: the exact meaning of the operator."""

    def macs(self, operands: Operands) -> int:
        """Return the multiply-accumulates of one execution (0 where nothing is multiplied)."""
        del operands
        return 0

    @abstractmethod
    def windows(self, operands: Operands) -> tuple[Window, ...]:
        """Return one window per input that is not a constant, in order."""

    def padded(self, rows: tuple[int, int] | None, columns: tuple[int, int] | None) -> Op | None:
        """Return the same operator with other padding (before, after), ``None``: as it is.

        What a tile of a map needs: it keeps the padding that lies at the map's border, elsewhere
        real rows and columns take its place.

        Returns:
            ``None`` if the operator slides over no padded map, or depends on where in the map it
            works.
        """
        del rows, columns
        return None

    @abstractmethod
    def lower(self, operands: Operands) -> Lowered:
        """Return the numbers of the operator's C."""

    def fold(self, operands: Operands) -> Lowered | None:
        """Return the numbers of a C function that takes the input row by row, if there is one.

        It is called as ``name(row of x, scratch, number of the call, y)``, keeps what it needs in
        scratch memory between the calls, and makes the whole output in the last. Its number
        ``rows`` says how many calls. If there is a number ``width`` (columns of a row), both may be
        replaced: the map then comes in narrower rows, in any order that covers it. Without it rows
        come whole and in their order.
        """
        del operands
        return None


def require_integers(op: Op, *tensors: Tensor) -> DType:
    """Return the one type of ``tensors``; raise E206 unless int8, or int16 with zero point 0."""
    dtype = tensors[0].dtype
    legal = dtype in (DType.INT8, DType.INT16) and all(x.dtype is dtype for x in tensors)
    require(legal, op, "inputs must be int8, or all int16")
    centred = dtype is DType.INT8 or all(x.quant is None or not x.zero_point for x in tensors)
    require(centred, op, "int16 tensors must have zero point 0")
    return dtype


def require(condition: bool, op: Op, why: str) -> None:
    """Raise E206 with the operator's name unless ``condition`` holds."""
    if not condition:
        raise ModelError("E206", f"{op.name}: {why}")
