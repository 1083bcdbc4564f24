"""Streaming: a run of nodes in tiles, what its schedule has shown, and where its rows are kept."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

from toolchain.kernels import Isa
from toolchain.kernels.cost import streamed
from toolchain.plan.flow import Flow, best_flow, can_pace, merged, run_flow
from toolchain.plan.overlap import as_close
from toolchain.plan.plan import RowStore
from toolchain.plan.quicken import Faster, ladder
from toolchain.plan.rows import RowWork, row_bytes
from toolchain.plan.schedule import Feed, Worker
from toolchain.plan.tiles import Grid, Tile, Tiling


@dataclass(frozen=True, eq=False)
class Streaming:
    """How a run of nodes streams.

    Attributes:
        grid: of the maps that leave it.
        tiles: one or more.
        flow: what the tiles need, the most of each.
        stores: where rows of tensors that are never whole are kept.
        isa: instruction set the kernels are chosen for.
        faster: per node other kernels, one of which it may get where there is room.
    """

    grid: Grid
    tiles: tuple[Tile, ...]
    flow: Flow
    stores: tuple[RowStore, ...]
    isa: Isa
    faster: tuple[tuple[Faster, ...], ...] = ()

    @property
    def works(self) -> tuple[RowWork, ...]:
        """Return the nodes in the first tile."""
        return self.tiles[0].works

    @property
    def feed(self) -> str:
        """Return the network's input if the caller hands it over row by row, else nothing."""
        feeds = (w.output.name for w in self.tiles[0].workers if isinstance(w, Feed))
        return next(feeds, "")

    @property
    def blocks(self) -> tuple[int, ...]:
        """Return the rows that a step of each node makes, nothing if it is one each."""
        found = tuple(work.block for work in self.works)
        return found if max(found) > 1 else ()

    @property
    def step_sizes(self) -> tuple[int, ...]:
        """Return the bytes of what each worker makes in a step."""
        pairs = zip(self.row_sizes, self.tiles[0].workers, strict=True)
        return tuple(size * worker.block for size, worker in pairs)

    @property
    def row_sizes(self) -> tuple[int, ...]:
        """Return the bytes of a row of what each worker makes, in the tile where it is longest."""
        rows = zip(*(tile.workers for tile in self.tiles), strict=True)
        return tuple(max(row_bytes(worker.output) for worker in workers) for workers in rows)

    def scratch(self, index: int) -> int:
        """Return the scratch memory of a node."""
        return max(tile.works[index].special.scratch_bytes for tile in self.tiles)

    def work(self, index: int) -> int:
        """Return the estimated instructions of a node's kernel."""
        return sum(tile.works[index].cost(self.isa) for tile in self.tiles)

    @property
    def instructions(self) -> int:
        """Return the estimated instructions of kernels, calls and moves of rows."""
        moved = {store.tensor for store in self.stores if store.ring and store.fresh}
        found = 0
        for tile in self.tiles:
            moving = [worker for worker in tile.workers if worker.output.name in moved]
            calls, moves = sum(map(_calls, tile.workers)), sum(w.rows // w.block for w in moving)
            size = sum(worker.rows * row_bytes(worker.output) for worker in moving)
            found += tile.cost(self.isa) + streamed(calls, moves, size)
        return found

    @property
    def passing_scratch(self) -> list[int]:
        """Return per position the scratch memory that is needed only while it makes a row."""
        works = enumerate(self.works)
        found = [0 if work.folds else self.scratch(index) for index, work in works]
        return [0] * (len(self.flow.workers) - len(found)) + found

    def passes(self, index: int) -> dict[str, int]:
        """Return the inputs whose rows a node's output may overwrite, with the distance."""
        every = [tile.works[index].overlaps for tile in self.tiles]
        block = self.works[index].block
        alike = {worker.output.name for worker in self.flow.workers if worker.block == block}
        names = alike.intersection(*every)
        return {
            name: max(overlaps[name] for overlaps in every) for name in every[0] if name in names
        }


def stream(tiling: Tiling, isa: Isa, spare: int, *, lean: bool = False) -> Streaming | None:
    """Return how ``tiling`` streams, ``None`` if its nodes cannot run in such tiles.

    Args:
        tiling: nodes and grid.
        isa: instruction set the kernels are chosen for.
        spare: bytes that may be spent to save work: a row moved to its ring costs time.
        lean: whether nodes get the kernel of least scratch memory; ``faster`` has the others.
    """
    kernels = tiling.kernels(isa, lean=lean)
    tiles = tiling.tiles(kernels) if kernels else None
    if tiles is None:
        return None
    every = _distinct(tiles)
    chosen, outputs = best_flow(every[0]).paces, [worker.output.name for worker in every[0]]
    paces = {f: leader for f, leader in chosen.items() if outputs[f] in tiling.inside}
    if not all(can_pace(workers, paces) for workers in every):
        paces = {}
    flow = merged([run_flow(workers, paces) for workers in every])
    bare = Streaming(tiling.grid, tiles, flow, (), isa)
    faster = _faster(bare, tiling, isa) if lean else ()
    return replace(bare, stores=_stores(bare, tiling.inside, spare), faster=faster)


def _faster(found: Streaming, tiling: Tiling, isa: Isa) -> tuple[tuple[Faster, ...], ...]:
    """Return the faster kernels of each node that treat rows as the chosen one does."""
    every = enumerate(zip(found.works, tiling.rivals(isa), strict=True))
    return tuple(
        ladder(
            [
                Faster(
                    new[0].kernel,
                    max(work.special.scratch_bytes for work in new),
                    found.work(i) - sum(work.cost(isa) for work in new),
                )
                for new in rivals
                if not new[0].folds and _alike(old, new[0])
            ]
        )
        for i, (old, rivals) in every
    )


def _calls(worker: Worker) -> int:
    return worker.turns if isinstance(worker, RowWork) else worker.rows


def _alike(old: RowWork, new: RowWork) -> bool:
    """Tell whether a node's new kernel may do with rows what the old one may."""
    same = old.special.over_row == new.special.over_row and old.row_operands == new.row_operands
    return same and as_close(new.overlaps, old.overlaps)


def _distinct(tiles: Sequence[Tile]) -> list[tuple[Worker, ...]]:
    """Return the workers of tiles that differ in rows: the others run the same schedule."""
    found = {tuple(_schedule(worker) for worker in tile.workers): tile for tile in tiles}
    return [tile.workers for tile in found.values()]


def _schedule(worker: Worker) -> Hashable:
    """Return what the schedule, and where rows may lie, depend on."""
    over = isinstance(worker, RowWork) and worker.special.over_row
    return worker.rows, over, tuple((n.tensor, n.low, n.high) for n in worker.needs)


def _stores(stream: Streaming, inside: frozenset[str], spare: int) -> tuple[RowStore, ...]:
    """Choose where rows are kept; moving a row costs work, so it is done only to save memory."""
    found: dict[str, RowStore] = {}
    moved: list[tuple[int, str, int]] = []
    flow = stream.flow
    sizes = stream.step_sizes
    scratch = stream.passing_scratch
    for position, (worker, storage) in enumerate(zip(flow.workers, flow.storage, strict=True)):
        name = worker.output.name
        if name not in inside:
            continue
        if is_guest(flow, position, sizes, scratch):
            found[name] = RowStore(name, 0, 0, flow.workers[storage.host].output.name)
        elif storage.separable and not storage.kept:
            found[name] = RowStore(name, 0, 1)
        elif storage.separable and storage.kept < storage.total:
            found[name] = RowStore(name, storage.kept, 1)
            more = stream.row_sizes[position] * (storage.total - storage.kept)
            moved.append((more, name, storage.total))
        else:
            found[name] = RowStore(name, storage.total, 0)
    for cost, name, total in sorted(moved):
        if cost <= spare:
            spare -= cost
            found[name] = RowStore(name, total, 0)
    for follower, leader in flow.paces.items():
        name, pace = (flow.workers[i].output.name for i in (follower, leader))
        found[name] = replace(found[name], pace=pace)
    return tuple(found.values())


def is_guest(flow: Flow, position: int, sizes: Sequence[int], scratch: Sequence[int]) -> bool:
    """Tell whether rows are better off as guests than with a slot of their own.

    A guest keeps the newest row of its host where it was made until the guest has been read.

    Args:
        flow: what a run of the stream has shown.
        position: of the worker that makes them.
        sizes: bytes made in a step, per position.
        scratch: bytes of scratch memory that each position needs while it makes a row.
    """
    storage, reader = flow.storage[position], flow.last_reader[position]
    if storage.host < 0 or not storage.separable or reader < 0:
        return False
    if not flow.storage[storage.host].separable:
        return True
    host, own = sizes[storage.host], sizes[position]
    making, reading = scratch[position], sizes[reader] + scratch[reader]
    return host + max(making, reading) < own + max(host + making, reading)
