"""The checker's part for streams: rows flow through the shadow as they will through the arena."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from toolchain.ir.graph import Graph, Node
from toolchain.ir.tensor import Tensor
from toolchain.kernels import Isa
from toolchain.plan.flow import can_pace
from toolchain.plan.moments import Moment, Span, moments
from toolchain.plan.plan import RowStore, StreamStage
from toolchain.plan.rows import RowNeed, RowWork, row_bytes
from toolchain.plan.schedule import Feed, Make, Stream, Worker
from toolchain.plan.shadow import Shadow, wrong
from toolchain.plan.tiles import Grid, Tile, Tiling

_MAX_TILES = 4096


class StreamCheck:
    """One stream on the shadow of the arena.

    Args:
        graph: the planned graph.
        shadow: the arena; its step is that of the stream's first node, and moves on.
        stage: the stream.
        nodes: its nodes.
        isa: instruction set of the plan.
    """

    def __init__(
        self, graph: Graph, shadow: Shadow, stage: StreamStage, nodes: Sequence[Node], isa: Isa
    ) -> None:
        self.graph, self.shadow, self.stage, self.nodes = graph, shadow, stage, nodes
        self.tiles = self._tiles()
        self._check_workers(self.tiles[0].works, isa)
        self._check_stores(self.tiles[0].workers)

    def run(self) -> None:
        """Execute the stream to its end.

        Raises:
            FitError: E303.
        """
        start = self.shadow.step
        for index, tile in enumerate(self.tiles):
            self.shadow.step = start
            _TileCheck(self.graph, self.shadow, self.stage, tile, index).run()
        self.shadow.step = start + len(self.stage.nodes)

    def _tiles(self) -> tuple[Tile, ...]:
        stage, where = self.stage, f'node "{self.nodes[0].name}"'
        if len(stage.kernels) != len(self.nodes):
            raise wrong("a stream needs one kernel per node", where)
        grid = Grid(stage.tile_rows, stage.tile_columns)
        if min(grid) < 1 or stage.tiles > _MAX_TILES:
            raise wrong(f"{grid.rows} x {grid.columns} tiles are not possible", where)
        if len(stage.steps) != len(self.nodes):
            raise wrong("a stream needs one number of rows per node", where)
        inside = frozenset(store.tensor for store in stage.stores)
        tiling = Tiling(self.graph, tuple(self.nodes), grid, inside, stage.feed, stage.blocks)
        tiles = tiling.tiles(stage.kernels)
        if tiles is None:
            names = ", ".join(f'"{kernel}"' for kernel in dict.fromkeys(stage.kernels))
            raise wrong(f"cannot run row by row in such tiles with kernel {names}", where)
        return tiles

    def _check_workers(self, works: Sequence[RowWork], isa: Isa) -> None:
        for work in works:
            if work.isa > isa:
                where = f'node "{work.node.name}"'
                raise wrong(f'kernel "{work.kernel}" does not run on it', where)

    def _check_stores(self, workers: Sequence[Worker]) -> None:
        positions = {worker.output.name: i for i, worker in enumerate(workers)}
        for store in self.stage.stores:
            rows = store.ring + store.fresh
            legal = store.ring >= 0 and store.fresh in (0, 1) and (rows > 0) != bool(store.host)
            if not legal or store.tensor not in positions:
                raise wrong("no rows of this are made here, or none are kept", f'"{store.tensor}"')
            self._check_region(store)
            worker = workers[positions[store.tensor]]
            if isinstance(worker, RowWork) and worker.folds:
                raise wrong("a fold makes its output whole", f'"{store.tensor}"')
            if store.host:
                self._check_guest(store, worker)
            if store.pace:
                self._check_pace(store, positions)
        for position, worker in enumerate(workers):
            for need in worker.needs:
                if positions.get(need.tensor, -1) >= position:
                    raise wrong(f'reads "{need.tensor}" before it is made', worker.output.name)

    def _check_region(self, store: RowStore) -> None:
        kinds = [kind for kind in ("ring", "fresh") if getattr(store, kind)]
        names = {self.shadow.region(f"{store.tensor}.{kind}") for kind in kinds}
        if len(names) > 1:
            raise wrong("its ring and its fresh row must be in one region", f'"{store.tensor}"')

    def _check_guest(self, store: RowStore, worker: Worker) -> None:
        host = next((s for s in self.stage.stores if s.tensor == store.host), None)
        reads = [need.tensor for need in worker.needs]
        steps = {worker.output.name: worker.block for worker in self.tiles[0].workers}
        single = steps[store.tensor] == steps.get(store.host, 0) == 1
        if host is None or not host.ring or not single or reads != [store.host]:
            raise wrong(f'cannot lie on the ring of "{store.host}"', f'"{store.tensor}"')
        for tile in self.tiles:
            sizes = {worker.output.name: row_bytes(worker.output) for worker in tile.workers}
            if sizes[store.tensor] > sizes[store.host]:
                raise wrong(f'is longer than a row of "{store.host}"', f'"{store.tensor}"')

    def _check_pace(self, store: RowStore, positions: Mapping[str, int]) -> None:
        leader = positions.get(store.pace, -1)
        pair = {positions[store.tensor]: leader}
        if leader < 0 or not all(can_pace(tile.workers, pair) for tile in self.tiles):
            raise wrong(f'cannot be made in pace with "{store.pace}"', f'"{store.tensor}"')


class _TileCheck:
    """One tile of a stream; values carry its number, so that another tile's are strange to it."""

    def __init__(
        self, graph: Graph, shadow: Shadow, stage: StreamStage, tile: Tile, index: int
    ) -> None:
        self.graph, self.shadow, self.tile, self.start = graph, shadow, tile, shadow.step
        self.shift = len(tile.workers) - len(stage.nodes)
        self.suffix = f" of tile {index}" if stage.tiles > 1 else ""
        self.stores = {store.tensor: store for store in stage.stores}
        self.position = {worker.output.name: i for i, worker in enumerate(tile.workers)}
        both = (self.position[s.tensor] for s in stage.stores if s.ring and s.fresh)
        place = self.position
        guests = {place[s.tensor]: place[s.host] for s in stage.stores if s.host}
        paces = {place[s.tensor]: place[s.pace] for s in stage.stores if s.pace}
        self.stream = Stream(tile.workers, frozenset(both), guests, paces)

    def run(self) -> None:
        for event in self.stream.events():
            worker = self.tile.workers[event.position]
            self.shadow.step = self.start + max(0, event.position - self.shift)
            if isinstance(event, Make):
                self._make(worker, event.row)
            else:
                self._keep(worker, event.row)
        for worker, made in zip(self.tile.workers, self.stream.made, strict=True):
            if made != worker.rows:
                where = f"{worker.output.name}{self.suffix}"
                raise wrong(f"the stream stops at row {made} of {worker.rows}", where)

    def _make(self, worker: Worker, row: int) -> None:
        if isinstance(worker, RowWork) and worker.folds:
            self._fold(worker, row)
            return
        rows = range(row, row + worker.block)
        results = [self._made(worker.output, made) for made in rows]
        if isinstance(worker, Feed):
            self.shadow.write(results[0])
            return
        reader = f'row {row}{self.suffix} of node "{worker.node.name}"'
        scratch = self.shadow.scratch(worker.node.name, worker.special.scratch_bytes)
        if worker.special.taps is not None and not worker.single:
            for made, result in zip(rows, results, strict=True):
                self.shadow.perform(self._tapped(worker, made, result), scratch, reader)
        else:
            self.shadow.perform(self._moments(worker, rows, results), scratch, reader)
        for result in results:
            self.shadow.read(result, reader)

    def _fold(self, work: RowWork, row: int) -> None:
        """Add a row to the sums in scratch memory; the last call makes the whole output."""
        reader = f'row {row}{self.suffix} of node "{work.node.name}"'
        call = work.first_call + row
        x = self._read(work.needs[0], work.row_operands.input(0), row)
        sums = self.shadow.scratch(work.node.name, work.special.scratch_bytes)
        before = (x, *sums) if call else (x,)
        result = (self.shadow.span(work.output),) if call + 1 == work.calls else ()
        self.shadow.perform([Moment(before, (*sums, *result), (x,))], (), reader)

    def _tapped(self, work: RowWork, row: int, result: Span) -> Iterator[Moment]:
        """Yield the moment of a kernel that finds the rows of a map through pointers."""
        reads = tuple(
            self._read(replace(need, low=(source,)), tensor, 0)
            for need, tensor in zip(work.needs, work.operands.activations, strict=True)
            for source in range(need.low[row], need.high[row])
        )
        over = work.special.over_row
        keeps = tuple(read for read in reads if not over or read.low != result.low)
        yield Moment(reads, (result,), keeps)

    def _moments(self, work: RowWork, rows: range, results: Sequence[Span]) -> Iterator[Moment]:
        """Yield the moments of a kernel that sees a block of rows side by side."""
        special = work.special
        parts: dict[str, Sequence[Span]] = {}
        inputs = zip(
            work.needs, work.operands.activations, work.row_operands.activations, strict=True
        )
        sources = []
        for need, tensor, seen in inputs:
            found = [self._read(need, tensor, row) for row in rows[: seen.shape[1]]]
            sources.append(_side_by_side(found, parts))
        result = _side_by_side(results, parts)
        every = moments(
            work.row_operands,
            work.node.op.windows(work.row_operands),
            tuple(sources),
            (result,),
            in_order=special.in_order,
            blocks=special.blocks,
        )
        for one in every:
            yield Moment(*(_by_rows(spans, parts) for spans in (one.reads, one.writes, one.keeps)))

    def _keep(self, worker: Worker, row: int) -> None:
        tensor, rows = worker.output, range(row, row + worker.block)
        fresh = tuple(self._made(tensor, moved) for moved in rows)
        ring = tuple(self._ring(tensor, self.stores[tensor.name], moved) for moved in rows)
        for places in (fresh, ring):
            _side_by_side(places, {})
        self.shadow.perform([Moment(fresh, ring, ())], (), f'"{fresh[0].value}"')

    def _read(self, need: RowNeed, part: Tensor, row: int) -> Span:
        """Return the bytes of the first row that output ``row`` needs, as wide as ``part``."""
        source, size = need.low[row], row_bytes(part)
        if need.tensor not in self.stores:
            box = self.tile.boxes[need.tensor]
            return self._in_map(part, box.top + source, box.left + need.column)
        stored = self._stored(self.tile.workers[self.position[need.tensor]].output, source)
        low = stored.low + need.column * (size // part.shape[2])
        return Span(stored.value, low, low + size)

    def _made(self, part: Tensor, row: int) -> Span:
        """Return the bytes of row ``row`` of what the tile makes."""
        if part.name in self.stores:
            return self._stored(part, row)
        box = self.tile.boxes[part.name]
        return self._in_map(part, box.top + row, box.left)

    def _in_map(self, part: Tensor, row: int, column: int) -> Span:
        """Return where a row of a part lies in its whole map."""
        tensor, size = self.graph.tensors[part.name], row_bytes(part)
        whole = self.shadow.span(tensor)
        low = whole.low + row * row_bytes(tensor) + column * (size // part.shape[2])
        return Span(whole.value, low, low + size)

    def _stored(self, tensor: Tensor, row: int) -> Span:
        """Return where a row lies now that is kept for a while only."""
        store = self.stores[tensor.name]
        if store.host:
            return self._guest(tensor, store, row)
        kept = self.stream.kept[self.position[tensor.name]]
        if store.ring and (not store.fresh or row < kept):
            return self._ring(tensor, store, row)
        size, block = row_bytes(tensor), self.tile.workers[self.position[tensor.name]].block
        slot = self.shadow.slot(f"{tensor.name}.fresh", block * size, tensor.dtype.itemsize)
        low = slot.offset + row % block * size
        return Span(self._value(tensor, row), low, low + size)

    def _guest(self, tensor: Tensor, store: RowStore, row: int) -> Span:
        """Return the place of the first row of the window that ``row`` is made from."""
        worker = self.tile.workers[self.position[tensor.name]]
        host = self.tile.workers[self.position[store.host]].output
        assert isinstance(worker, RowWork), "a feed is no guest"
        place = self._ring(host, self.stores[store.host], worker.first_row(row))
        return Span(self._value(tensor, row), place.low, place.low + row_bytes(tensor))

    def _ring(self, tensor: Tensor, store: RowStore, row: int) -> Span:
        size = row_bytes(tensor)
        slot = self.shadow.slot(f"{tensor.name}.ring", size * store.ring, tensor.dtype.itemsize)
        low = slot.offset + row % store.ring * size
        return Span(self._value(tensor, row), low, low + size)

    def _value(self, tensor: Tensor, row: int) -> str:
        return f"{tensor.name}[{row}]{self.suffix}"


def _side_by_side(rows: Sequence[Span], parts: dict[str, Sequence[Span]]) -> Span:
    """Return the bytes of rows that must lie side by side; ``parts`` notes of which they are."""
    for above, below in pairwise(rows):
        if above.high != below.low:
            raise wrong("does not lie beside the row before it", f'"{below.value}"')
    whole = Span(f"{rows[0].value} to {rows[-1].value}", rows[0].low, rows[-1].high)
    parts[whole.value] = rows
    return whole


def _by_rows(spans: Sequence[Span], parts: Mapping[str, Sequence[Span]]) -> tuple[Span, ...]:
    """Return parts of blocks as those of their rows."""
    return tuple(
        Span(row.value, max(span.low, row.low), min(span.high, row.high))
        for span in spans
        for row in parts[span.value]
        if span.touches(row)
    )
