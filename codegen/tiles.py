"""Stages of rows for the C templates: tiles, the C functions they share, and who calls them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from codegen.call import Call
from codegen.stream import CTile, Feeding, TileLowering
from toolchain.ir.graph import Graph
from toolchain.plan.plan import Slot, StreamStage
from toolchain.plan.rows import row_bytes
from toolchain.plan.tiles import Tile

FEED = ("from_row", "from_column")  # parameters that say which part of the input a tile begins with


@dataclass(frozen=True)
class Launch:
    """Consecutive tiles that one C function makes.

    Attributes:
        function: its name.
        count: how many.
        start: arguments of the first tile.
        step: what is added from tile to tile.
    """

    function: str
    count: int
    start: tuple[int, ...]
    step: tuple[int, ...]

    @property
    def arguments(self) -> tuple[str, ...]:
        """Return the arguments as C expressions in ``tile``, which counts from 0."""
        pairs = zip(self.start, self.step, strict=True)
        moving = ((at, f"tile * {by}" if by != 1 else "tile") for at, by in pairs)
        return tuple(
            (f"{at} + {walk}" if at else walk) if by else str(at)
            for (at, walk), by in zip(moving, self.step, strict=True)
        )


@dataclass(frozen=True)
class CStream:
    """A stage of rows.

    Attributes:
        name: C name.
        first: its first node.
        last: its last node.
        params: C parameters of the tiles' functions.
        functions: tiles that differ, by C name.
        launches: in order; empty if there is a single tile.
        pull: whether the caller is asked for the input.
    """

    kind: ClassVar[str] = "stream"
    name: str
    first: str
    last: str
    params: tuple[str, ...]
    functions: Mapping[str, CTile]
    launches: tuple[Launch, ...]
    pull: bool

    @property
    def feed(self) -> Feeding | None:
        """Return how the caller pushes the input row by row, if it does."""
        return None if self.launches else next(iter(self.functions.values())).feed


def lower_stream(
    name: str,
    graph: Graph,
    stage: StreamStage,
    tiles: Sequence[Tile],
    calls: Callable[[Tile], Sequence[Call]],
    slots: Mapping[str, Slot],
    ctypes: Mapping[str, str],
) -> CStream:
    """Return a stage as the templates print it.

    Args:
        name: its C name.
        graph: the graph.
        stage: the stage.
        tiles: its tiles.
        calls: what the nodes of a tile call.
        slots: all slots by tensor or name.
        ctypes: C type of each tensor, by name.
    """
    values = _places(graph, stage, tiles)
    folds = {work.output.name for work in tiles[0].works if work.folds}
    params = {n: f"{'calls' if n in folds else 'at'}_{i}" for i, n in enumerate(values)}
    shapes: dict[Hashable, str] = {}
    functions: dict[str, CTile] = {}
    launches: list[Launch] = []
    for index, tile in enumerate(tiles):
        key = _shape(tile)
        if key not in shapes:
            suffix = f"_{len(shapes)}" if len(tiles) > 1 else ""
            shapes[key] = name + suffix
            lowering = TileLowering(graph, stage, tile, calls(tile), slots, ctypes, params)
            functions[shapes[key]] = lowering.lower()
        place = tuple(found[index] for found in values.values())
        launches.append(Launch(shapes[key], 1, place, (0,) * len(place)))
    several = len(tiles) > 1
    pull = several and bool(stage.feed)
    names = (*params.values(), *(FEED if pull else ()))
    return CStream(
        name,
        stage.nodes[0],
        stage.nodes[-1],
        names,
        functions,
        tuple(_merged(_with_feed(launches, stage, tiles) if pull else launches)) if several else (),
        pull,
    )


def _with_feed(
    launches: Sequence[Launch], stage: StreamStage, tiles: Sequence[Tile]
) -> list[Launch]:
    """Add the row and column of the input at which each tile begins."""
    found = []
    for launch, tile in zip(launches, tiles, strict=True):
        box = tile.boxes[stage.feed]
        start = (*launch.start, box.top, box.left)
        found.append(Launch(launch.function, 1, start, (0,) * len(start)))
    return found


def _places(graph: Graph, stage: StreamStage, tiles: Sequence[Tile]) -> dict[str, list[int]]:
    """Return where each tile begins in whole maps, in bytes, and a fold's calls before it.

    Tensors for which it is nothing everywhere are left out.
    """
    inside = {store.tensor for store in stage.stores}
    found: dict[str, list[int]] = {}
    for name in tiles[0].boxes:
        if name not in inside:
            pitch = row_bytes(graph.tensors[name])
            pixel = pitch // graph.tensors[name].shape[2]
            corners = [(tile.boxes[name].top, tile.boxes[name].left) for tile in tiles]
            found[name] = [top * pitch + left * pixel for top, left in corners]
    for i, work in enumerate(tiles[0].works):
        if work.folds:
            found[work.output.name] = [tile.works[i].first_call for tile in tiles]
    return {name: places for name, places in found.items() if any(places)}


def _shape(tile: Tile) -> Hashable:
    """Return all that the C of a tile depends on, but where it lies in whole maps."""
    key: list[Hashable] = []
    for work in tile.works:
        sizes = tuple(t.shape for t in (*work.operands.activations, work.operands.output))
        key.append((work.node.op, sizes))
        key.extend((need.low[0], need.column) for need in work.needs)
    key.extend(worker.output.shape for worker in tile.workers)
    return tuple(key)


def _merged(launches: Sequence[Launch]) -> list[Launch]:
    """Join neighbours of one function whose arguments grow evenly."""
    found: list[Launch] = []
    for launch in launches:
        if found and found[-1].function == launch.function:
            before = found[-1]
            pairs = zip(launch.start, before.start, strict=True)
            step = tuple((new - old) // before.count for new, old in pairs)
            exact = all(
                old + by * before.count == new
                for new, old, by in zip(launch.start, before.start, step, strict=True)
            )
            if (exact and before.count == 1) or (step == before.step and exact):
                found[-1] = Launch(before.function, before.count + 1, before.start, step)
                continue
        found.append(launch)
    return found
