"""Tiles: a stage that makes its outputs part by part, each from the parts of its inputs it needs.

The maps that leave a stage are cut by one grid. Going back from a tile of them, each operator's
window tells which part ``[low, high)`` of its input that tile needs, along rows and columns,
clipped to the map (MCUNetV2, arXiv 2110.15352, section 3.1, with clipped patches). Parts of
neighbouring tiles overlap: those halos are computed again for each tile. Inside a tile rows flow
through rings, so a grid of columns alone (strips) recomputes nothing along the rows.

A node of a tile is the same operator on smaller tensors with the padding that lies in reach of the
tile; so it has the same kernels, and equal tiles share their C functions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

from toolchain.errors import ModelError
from toolchain.ir.graph import Graph, Node, Operands
from toolchain.ir.tensor import Tensor
from toolchain.kernels import Isa
from toolchain.ops.base import Lowered, Op
from toolchain.ops.window import IDENTITY, AxisMap, Whole, Window
from toolchain.plan.lowering import fold, kernels
from toolchain.plan.rows import (
    RowNeed,
    RowWork,
    fold_work,
    has_rows,
    is_map,
    named_row_work,
    row_kernels,
)
from toolchain.plan.schedule import Feed, Worker

_AXES = (1, 2)  # rows and columns of NHWC


class Box(NamedTuple):
    """Rows ``[top, bottom)`` and columns ``[left, right)`` of a map."""

    top: int
    bottom: int
    left: int
    right: int

    @classmethod
    def of(cls, tensor: Tensor) -> Box:
        """Return the whole map."""
        return cls(0, tensor.shape[1], 0, tensor.shape[2])

    def hull(self, other: Box | None) -> Box:
        """Return the smallest box that holds both."""
        if other is None:
            return self
        top, left = min(self.top, other.top), min(self.left, other.left)
        return Box(top, max(self.bottom, other.bottom), left, max(self.right, other.right))

    @property
    def axes(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return the range of rows and that of columns."""
        return self[:2], self[2:]

    @property
    def size(self) -> tuple[int, int]:
        """Return the number of rows and that of columns."""
        return self.bottom - self.top, self.right - self.left

    @property
    def empty(self) -> bool:
        """Tell whether nothing is inside."""
        return self.top >= self.bottom or self.left >= self.right


class Grid(NamedTuple):
    """Number of tiles along the rows and along the columns of a map."""

    rows: int
    columns: int

    def boxes(self, tensor: Tensor) -> list[Box] | None:
        """Return the tiles of a map row by row, the last ones smaller; ``None`` if some are empty.

        Every tile but the last along an axis has the size of the first.
        """
        ranges = [cut(tensor.shape[axis], count) for axis, count in zip(_AXES, self, strict=True)]
        if any(len(found) != count for found, count in zip(ranges, self, strict=True)):
            return None
        return [Box(*rows, *columns) for rows in ranges[0] for columns in ranges[1]]


def cut(size: int, count: int) -> list[tuple[int, int]]:
    """Return at most ``count`` ranges of equal length, the last maybe shorter, that cover it."""
    step = -(-size // count)
    return [(low, min(low + step, size)) for low in range(0, size, step)]


@dataclass(frozen=True, eq=False)
class Tile:
    """One tile of a stage.

    Attributes:
        workers: what runs; rows and columns count from the tile's part of each tensor.
        boxes: that part, of every tensor that is made or read.
    """

    workers: tuple[Worker, ...]
    boxes: Mapping[str, Box]

    @property
    def works(self) -> tuple[RowWork, ...]:
        """Return the nodes."""
        return tuple(worker for worker in self.workers if isinstance(worker, RowWork))

    @property
    def macs(self) -> int:
        """Return the multiply-accumulates."""
        return sum(work.node.op.macs(work.operands) for work in self.works)

    def cost(self, isa: Isa) -> int:
        """Return the estimated instructions of the kernels on a core of ``isa``."""
        return sum(work.cost(isa) for work in self.works)


@dataclass(frozen=True, eq=False)
class Tiling:
    """A run of nodes and the grid that cuts the maps they make.

    Attributes:
        graph: the graph.
        nodes: in order.
        grid: of every map that leaves the stage or ends in a fold.
        inside: tensors that are never whole.
        feed: the network's input if the caller hands it over, else empty.
        blocks: rows that a step of each node makes, nothing for one each; more need a single tile.
    """

    graph: Graph
    nodes: tuple[Node, ...]
    grid: Grid
    inside: frozenset[str]
    feed: str = ""
    blocks: tuple[int, ...] = ()

    def kernels(self, isa: Isa, *, lean: bool = False) -> tuple[str, ...] | None:
        """Return the first of `row_kernels` that all tiles can use, by node, ``None`` if none."""
        every = self._boxes()
        if every is None:
            return None
        chosen: list[str] = []
        for node in self.nodes:
            works = self._works(node, every, isa, lean=lean)
            if works is None:
                return None
            chosen.append(works[0].kernel)
        return tuple(chosen)

    def tiles(self, kernels: Sequence[str]) -> tuple[Tile, ...] | None:
        """Return the tiles, row by row of the grid, or ``None`` if a node cannot run so."""
        every = self._boxes()
        if every is None or not self._legal_feed(every):
            return None
        rows: list[list[Worker]] = [self._feed(boxes) for boxes in every]
        for node, kernel in zip(self.nodes, kernels, strict=True):
            works = self._works(node, every, kernel)
            if works is None:
                return None
            for row, work in zip(rows, works, strict=True):
                row.append(work)
        return tuple(Tile(tuple(row), boxes) for row, boxes in zip(rows, every, strict=True))

    def rivals(self, isa: Isa) -> Iterator[list[list[RowWork]]]:
        """Yield for each node its work in each tile, with each of its kernels; none if it folds.

        The operator's own portable kernel is left out: it is slower by far.
        """
        every = self._boxes()
        assert every is not None, "tiles that have been made"
        for node in self.nodes:
            operands = self.graph.operands(node)
            folds = fold(node.op, operands) is not None
            part = None if folds else self._part(node, operands, every[0])
            names = row_kernels(*part, isa, block=self._block(node)) if part else []
            works = (self._works(node, every, name) for name in names[:-1])
            yield [found for found in works if found]

    def _legal_feed(self, every: Sequence[Mapping[str, Box]]) -> bool:
        """Tell whether the stage reads the input, whole only if it comes whole."""
        read = not self.feed or self.feed in every[0]
        return read and (len(every) == 1 or not self.feed or self.feed in self.inside)

    def _feed(self, boxes: Mapping[str, Box]) -> list[Worker]:
        if not self.feed:
            return []
        return [Feed(crop(self.graph.tensors[self.feed], boxes[self.feed].size))]

    def _works(
        self,
        node: Node,
        every: Sequence[Mapping[str, Box]],
        wish: Isa | str,
        *,
        lean: bool = False,
    ) -> list[RowWork] | None:
        """Return a node's work in each tile, with a kernel or the first of an instruction set."""
        operands = self.graph.operands(node)
        if (folding := fold(node.op, operands)) is not None:
            name = kernels(folding, wish)[0].name if isinstance(wish, Isa) else wish
            return self._folds(node, folding, name, every) if self._block(node) == 1 else None
        block = self._block(node)
        if block != 1 and len(every) > 1:
            return None
        parts = [self._part(node, operands, boxes) for boxes in every]
        if any(part is None for part in parts):
            return None
        found = [part for part in parts if part is not None]
        if any(fold(part.op, tensors) is not None for part, tensors in found):
            return None  # of a part it would make a whole, which it is not
        if isinstance(wish, str):
            names = [wish]
        else:
            names = row_kernels(*found[0], wish, lean=lean, block=block)
        for name in names:
            works = [named_row_work(*part, name, block) for part in found]
            if all(work is not None for work in works):
                pairs = zip(works, every, strict=True)
                return [self._placed(node, work, boxes) for work, boxes in pairs if work]
        return None

    def _block(self, node: Node) -> int:
        """Return the rows that a step of ``node`` makes."""
        return self.blocks[self.nodes.index(node)] if self.blocks else 1

    def _boxes(self) -> list[dict[str, Box]] | None:
        """Return the part of every tensor that each tile makes or reads."""
        every: list[dict[str, Box]] = [{} for _ in range(self.grid.rows * self.grid.columns)]
        for node in reversed(self.nodes):
            operands = self.graph.operands(node)
            if len(operands.outputs) != 1 or not all(map(is_map, operands.activations)):
                return None
            folds = fold(node.op, operands) is not None
            if folds and len(every) > 1 and operands.output.name in every[0]:
                return None  # read before the last tile completes it
            target = operands.input(0) if folds else operands.output
            anchored = folds or target.name not in self.inside or target.name not in every[0]
            cuts = self.grid.boxes(target) if anchored and has_rows(target) else None
            if anchored and cuts is None:
                return None
            for index, boxes in enumerate(every):
                if cuts is not None:
                    boxes[target.name] = cuts[index].hull(boxes.get(target.name))
                if not folds and not self._trace(node, operands, boxes):
                    return None
        return every

    def _trace(self, node: Node, operands: Operands, boxes: dict[str, Box]) -> bool:
        """Add the parts of its inputs that a node needs; tell whether there are any."""
        for x, part in zip(operands.activations, self._inputs(node, operands, boxes), strict=True):
            if part.empty:
                return False
            boxes[x.name] = part.hull(boxes.get(x.name))
        return True

    def _inputs(self, node: Node, operands: Operands, boxes: Mapping[str, Box]) -> list[Box]:
        """Return the part of each activation that makes a node's part of its output."""
        out = boxes[operands.output.name]
        pairs = zip(operands.activations, node.op.windows(operands), strict=True)
        return [_clipped(x, window, out, self.grid) for x, window in pairs]

    def _part(
        self, node: Node, operands: Operands, boxes: Mapping[str, Box]
    ) -> tuple[Node, Operands] | None:
        """Return the node that makes a tile's part of the output."""
        op = _padded(node.op, operands, boxes[operands.output.name], self.grid)
        if op is None:
            return None
        sizes = tuple(box.size for box in self._inputs(node, operands, boxes))
        return _resized(node, op, operands, sizes, boxes[operands.output.name].size)

    def _placed(self, node: Node, work: RowWork, boxes: Mapping[str, Box]) -> RowWork:
        """Let rows and columns of the inputs count from the tile's part of them."""
        parts = self._inputs(node, self.graph.operands(node), boxes)
        needs = zip(work.needs, parts, strict=True)
        return replace(work, needs=tuple(_moved(need, part, boxes) for need, part in needs))

    def _folds(
        self, node: Node, folding: Lowered, name: str, every: Sequence[Mapping[str, Box]]
    ) -> list[RowWork] | None:
        """Return the calls of a fold in each tile: rows of the tile's own part of the input."""
        operands = self.graph.operands(node)
        x = operands.input(0)
        cuts = self.grid.boxes(x)
        if cuts is None:
            return None
        calls = sum(box.bottom - box.top for box in cuts)
        works: list[RowWork] = []
        done = 0
        for part, boxes in zip(cuts, every, strict=True):
            inputs = (crop(x, part.size), *operands.inputs[1:])
            work = fold_work(node, Operands(inputs, operands.outputs), folding, name, calls)
            if work is None:
                return None
            needs = tuple(_moved(need, part, boxes) for need in work.needs)
            works.append(replace(work, needs=needs, first_call=done))
            done += part.bottom - part.top
        return works


def tileable(work: RowWork) -> bool:
    """Tell whether a node can make a part of the columns of its output."""
    operands = work.operands
    if work.folds:
        return "width" in work.special.numbers
    return narrowed(work.node, operands, half_of(operands.output)) is not None


def half_of(tensor: Tensor) -> Box:
    """Return the left half of a map."""
    return Box(0, tensor.shape[1], 0, max(1, tensor.shape[2] // 2))


def narrowed(node: Node, operands: Operands, out: Box) -> tuple[Node, Operands] | None:
    """Return the node that makes the columns of ``out``, ``None`` if there is none."""
    grid = Grid(1, 2)
    op = _padded(node.op, operands, out, grid)
    pairs = zip(operands.activations, node.op.windows(operands), strict=True)
    parts = [_clipped(x, window, out, grid) for x, window in pairs]
    if op is None or any(part.empty for part in parts):
        return None
    return _resized(node, op, operands, tuple(part.size for part in parts), out.size)


def _moved(need: RowNeed, part: Box, boxes: Mapping[str, Box]) -> RowNeed:
    """Let rows and columns count from the tile's part of the tensor, of which ``part`` is one."""
    origin = boxes[need.tensor]
    down, column = part.top - origin.top, part.left - origin.left
    low, high = (tuple(row + down for row in rows) for rows in (need.low, need.high))
    return RowNeed(need.tensor, low, high, column)


def crop(tensor: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the tensor of a part of a map: so many rows and columns."""
    if size == tensor.shape[1:3]:
        return tensor
    return replace(tensor, shape=(tensor.shape[0], *size, *tensor.shape[3:]))


def _clipped(x: Tensor, window: Window, out: Box, grid: Grid) -> Box:
    """Return the part of ``x`` that makes ``out``; all of an axis that the grid does not cut."""
    ranges = []
    for axis, count, span in zip(_AXES, grid, out.axes, strict=True):
        size = x.shape[axis]
        low, high = window.axes[axis].needs(*span) if count > 1 else (0, size)
        ranges.append((max(0, low), min(high, size)))
    return Box(*ranges[0], *ranges[1])


def _padded(op: Op, operands: Operands, out: Box, grid: Grid) -> Op | None:
    """Return the operator that makes ``out``, with the padding in reach of it."""
    pads: list[tuple[int, int] | None] = [None, None]
    pairs = list(zip(operands.activations, op.windows(operands), strict=True))
    for i, (axis, count, span) in enumerate(zip(_AXES, grid, out.axes, strict=True)):
        if count == 1 or all(_in_place(window.axes[axis]) for _, window in pairs):
            continue
        if len(pairs) != 1:
            return None
        low, high = pairs[0][1].axes[axis].needs(*span)
        pads[i] = max(0, -low), max(0, high - pairs[0][0].shape[axis])
    return op if pads == [None, None] else op.padded(*pads)


def _in_place(axis: AxisMap) -> bool:
    """Tell whether an output needs the input at its own place, or one that is repeated."""
    return axis in (IDENTITY, Whole(1))


@lru_cache(4096)
def _resized(
    node: Node,
    op: Op,
    operands: Operands,
    in_sizes: tuple[tuple[int, int], ...],
    out_size: tuple[int, int],
) -> tuple[Node, Operands] | None:
    """Return ``node`` as ``op`` on tensors of other sizes, the same objects for equal tiles."""
    sizes = iter(in_sizes)
    inputs = tuple(
        x if x is None or x.is_constant else crop(x, next(sizes)) for x in operands.inputs
    )
    made = Operands(inputs, (crop(operands.output, out_size),))
    if made == operands and op == node.op:
        return node, operands
    try:
        (kind,) = op.infer(made)
    except ModelError:
        return None
    return (replace(node, op=op), made) if kind.shape == made.output.shape else None
