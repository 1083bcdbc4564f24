"""Rows: nodes that can make their output one image row at a time, or a block of rows per step.

A node is row by row if its kernel is a row kernel, or if each output row depends on the input
rows of the same number only, so that the operator on one-row operands is its own row kernel. Such
an operator makes a block of rows in one call, which lie side by side; a row kernel is called for
each row of a block. Narrow rows are worth it: pixels of several rows share the weights they load.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from toolchain.errors import ModelError
from toolchain.ir.graph import Graph, Node, Operands
from toolchain.ir.tensor import Tensor
from toolchain.kernels import Isa, Kernel, Specialised
from toolchain.kernels.base import integer
from toolchain.kernels.cost import products
from toolchain.ops.base import Lowered
from toolchain.ops.window import IDENTITY, AxisMap
from toolchain.plan.lowering import fold, kernels, lower, specialise
from toolchain.plan.overlap import distances

_ROWS = 1  # the axis of rows in NHWC


@dataclass(frozen=True)
class RowNeed:
    """Which rows of one input each output row needs: ``[low[y], high[y])``, none decreasing.

    Attributes:
        tensor: the input.
        low: first row that is needed, by output row.
        high: row behind the last.
        column: the column of those rows at which the node's input begins.
    """

    tensor: str
    low: tuple[int, ...]
    high: tuple[int, ...]
    column: int = 0


@dataclass(frozen=True, eq=False)
class RowWork:
    """A node made ready to run row by row.

    Attributes:
        node: the node.
        operands: its tensors.
        row_operands: the tensors that one call of the kernel sees: a block of rows, or the whole
            maps of a row kernel, which finds its rows through pointers.
        kernel: the kernel's name.
        isa: the instruction set it needs.
        special: what the kernel needs; with ``taps`` it is a row kernel.
        needs: the rows that each activation input must provide.
        overlaps: for inputs whose row the output row may overwrite, the least distance in bytes.
        folds: whether the node takes one input row per call and makes its whole output in the
            last (`Op.fold`); ``needs`` are then those of each call.
        first_call: calls of a fold for tiles before this one.
        block: rows that one step makes, a divisor of their number.
    """

    node: Node
    operands: Operands
    row_operands: Operands
    kernel: str
    isa: Isa
    special: Specialised
    needs: tuple[RowNeed, ...]
    overlaps: dict[str, int]
    folds: bool
    first_call: int = 0
    block: int = 1

    @property
    def output(self) -> Tensor:
        """Return the tensor that is made."""
        return self.operands.output

    @property
    def single(self) -> bool:
        """Tell whether the kernel sees blocks of rows, not a map through pointers."""
        return self.row_operands != self.operands

    def first_row(self, row: int) -> int:
        """Return the first input row of the window of ``row``; negative in the padding."""
        taps = self.special.taps
        if taps is not None and taps.lines:
            return self.needs[0].low[row]
        return row if taps is None else row * taps.stride - taps.pad

    @property
    def rows(self) -> int:
        """Return the number of rows to make, or to take if the node folds."""
        return row_count(self.operands.activations[0] if self.folds else self.operands.output)

    def cost(self, isa: Isa) -> int:
        """Return the estimate of instructions on a core of ``isa``.

        It goes by the multiply-accumulates if the kernel has none of its own.
        """
        each = self.special.cost(isa)
        if not each:
            return products(self.node.op.macs(self.operands), self.isa)
        return each * (self.turns if self.single or self.folds else 1)

    @property
    def turns(self) -> int:
        """Return the calls of the kernel."""
        return self.rows // self.block if self.single else self.rows

    @property
    def side_by_side(self) -> int:
        """Return how many rows of its inputs a call takes that must lie side by side."""
        return self.block if self.special.taps is None or self.single else 1

    @property
    def calls(self) -> int:
        """Return the calls of a fold in all tiles together."""
        return integer(self.special.numbers, "rows")


def row_count(tensor: Tensor) -> int:
    """Return the number of rows of an NHWC tensor."""
    return tensor.shape[_ROWS]


def row_bytes(tensor: Tensor) -> int:
    """Return the bytes of one row of an NHWC tensor."""
    return tensor.nbytes // row_count(tensor)


def row_work(
    graph: Graph, node: Node, isa: Isa, *, lean: bool = False, block: int = 1
) -> RowWork | None:
    """Return ``node`` ready to run row by row with its first such kernel, or ``None``."""
    operands = graph.operands(node)
    names = row_kernels(node, operands, isa, lean=lean, block=block)
    return named_row_work(node, operands, names[0], block) if names else None


def row_kernels(
    node: Node, operands: Operands, isa: Isa, *, lean: bool = False, block: int = 1
) -> list[str]:
    """Return the kernels that make ``node`` row by row.

    Args:
        node: the node.
        operands: its tensors.
        isa: instruction set.
        lean: whether those that need least scratch memory come first, not the fastest. The
            operator's own portable kernel stays last: it is slower by far.
        block: rows per step.
    """
    if (folding := fold(node.op, operands)) is not None:
        return [kernel.name for kernel in kernels(folding, isa)] if block == 1 else []
    found = _row_lowered(node, operands, block)
    if found is None:
        return []
    every = ((k.name, specialise(found[1], k.name)[1]) for k in kernels(found[1], isa))
    whole = found[0] == operands
    able = [(n, special) for n, special in every if _makes_rows(found[1], special, block, whole)]
    if lean:
        able[:-1] = sorted(able[:-1], key=lambda p: (not p[1].over_row, p[1].scratch_bytes))
    return [name for name, _ in able]


def named_row_work(node: Node, operands: Operands, name: str, block: int = 1) -> RowWork | None:
    """Return ``node`` ready to run row by row with the kernel of that name, or ``None``."""
    if (folding := fold(node.op, operands)) is not None:
        return fold_work(node, operands, folding, name) if block == 1 else None
    found = _row_lowered(node, operands, block)
    if found is None:
        return None
    try:
        kernel, special = specialise(found[1], name)
    except KeyError:
        return None
    if not _makes_rows(found[1], special, block, found[0] == operands):
        return None
    return replace(_work(node, operands, found[0], kernel, special), block=block)


def fold_work(
    node: Node, operands: Operands, folding: Lowered, name: str, calls: int = 0
) -> RowWork | None:
    """Return ``node`` ready to take its input row by row as the numbers of ``folding`` say.

    Args:
        node: the node.
        operands: its tensors.
        folding: numbers of the node.
        name: the kernel; without one of that name there is no such work.
        calls: in all tiles together, if the node takes a part of the map.
    """
    x = operands.input(0)
    count = row_count(x)
    lowered = _part_of_fold(folding, calls or count, x.shape[2])
    if lowered is None:
        return None
    needs = (RowNeed(x.name, tuple(range(count)), tuple(range(1, count + 1))),)
    row_operands = Operands((_row(x), *operands.inputs[1:]), operands.outputs)
    try:
        kernel, special = specialise(lowered, name)
    except KeyError:
        return None
    return RowWork(
        node, operands, row_operands, kernel.name, kernel.isa, special, needs, {}, folds=True
    )


@lru_cache(2048)
def _part_of_fold(folding: Lowered, calls: int, width: int) -> Lowered | None:
    """Return a fold whose map comes in so many rows of ``width`` columns, ``None`` if it cannot."""
    if "width" in folding.numbers:
        return replace(folding, numbers={**folding.numbers, "rows": calls, "width": width})
    return folding if calls == folding.numbers["rows"] else None


def _makes_rows(lowered: Lowered, special: Specialised, block: int, whole: bool) -> bool:
    """Tell whether a call makes a block of rows, or still one row of a ``whole`` map."""
    taps, plain = special.taps, lowered.taps
    if taps is None or plain is None:
        return taps == plain
    if block > 1 and not whole:
        return taps.in_rows == taps.out_rows == 1
    return taps == plain or taps.in_rows == taps.out_rows == plain.count == 1


def _work(
    node: Node,
    operands: Operands,
    row_operands: Operands,
    kernel: Kernel,
    special: Specialised,
) -> RowWork:
    rows = row_count(operands.output)
    windows = node.op.windows(operands)
    needs = tuple(
        _need(tensor, window.axes[_ROWS], rows)
        for tensor, window in zip(operands.activations, windows, strict=True)
    )
    overlaps: dict[str, int] = {}
    if special.in_order and (special.taps is None or special.blocks):
        overlaps = distances(node.op.windows(row_operands), row_operands, special.blocks)
    return RowWork(
        node, operands, row_operands, kernel.name, kernel.isa, special, needs, overlaps, folds=False
    )


def _need(tensor: Tensor, axis: AxisMap, rows: int) -> RowNeed:
    count = row_count(tensor)
    ranges = [axis.needs(y, y + 1) for y in range(rows)]
    low = tuple(min(max(0, low), count) for low, _ in ranges)
    return RowNeed(tensor.name, low, tuple(max(0, min(high, count)) for _, high in ranges))


@lru_cache(2048)
def _row_lowered(node: Node, operands: Operands, block: int) -> tuple[Operands, Lowered] | None:
    """Return the operands and numbers of the kernel that makes one row, or a block of rows."""
    if len(operands.outputs) != 1 or not operands.activations:
        return None
    if not all(map(is_map, operands.activations)) or not has_rows(operands.output):
        return None
    rows = row_count(operands.output)
    if block < 1 or rows % block or rows == block > 1:
        return None
    row_operands = _single_rows(node, operands, block)
    if row_operands is not None:
        lowered = lower(node.op, row_operands)
        taps, makes = lowered.taps, lowered.kernel and not lowered.homes
        if makes and (taps is None or (taps.count == 1 and not taps.padded)):
            return row_operands, lowered
    lowered = lower(node.op, operands)
    makes = lowered.kernel and lowered.taps is not None and not lowered.homes
    return (operands, lowered) if makes else None


def _single_rows(node: Node, operands: Operands, block: int) -> Operands | None:
    """Return operands of a block if output rows need input rows of their own number only."""
    windows = iter(node.op.windows(operands))
    inputs: list[Tensor | None] = []
    for tensor in operands.inputs:
        if tensor is None or tensor.is_constant:
            if tensor is not None and _varies_by_row(tensor):
                return None
            inputs.append(tensor)
        elif next(windows).axes[_ROWS] == IDENTITY:
            inputs.append(_row(tensor, block))
        elif row_count(tensor) == 1:
            inputs.append(tensor)
        else:
            return None
    row_operands = Operands(tuple(inputs), (_row(operands.output, block),))
    try:
        (made,) = node.op.infer(row_operands)
    except ModelError:
        return None  # an attribute speaks of the number of rows
    return row_operands if made.shape == row_operands.output.shape else None


def is_map(tensor: Tensor) -> bool:
    """Tell whether this is a single NHWC map."""
    return len(tensor.shape) == 4 and tensor.shape[0] == 1


def has_rows(tensor: Tensor) -> bool:
    """Tell whether this is a single map, of channels or of one value per pixel (N, H, W)."""
    return len(tensor.shape) in (3, 4) and tensor.shape[0] == 1


def _row(tensor: Tensor, count: int = 1) -> Tensor:
    return replace(tensor, shape=(1, count, *tensor.shape[2:]))


def _varies_by_row(tensor: Tensor) -> bool:
    """Tell whether a constant takes part row by row; the weights of a convolution do not."""
    return len(tensor.shape) == 4 and tensor.shape[0] == 1 and row_count(tensor) != 1
