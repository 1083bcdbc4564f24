"""The checker's part for streams: rows flow through the shadow as they will through the arena."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from toolchain.ir.graph import Graph, Node
from toolchain.ir.tensor import Tensor
from toolchain.kernels import Isa
from toolchain.plan.moments import Moment, Span, moments
from toolchain.plan.plan import RowStore, StreamStage
from toolchain.plan.rows import RowWork, named_row_work, row_bytes, row_count
from toolchain.plan.schedule import Feed, Make, Stream, Worker
from toolchain.plan.shadow import Shadow, wrong


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
        self.graph, self.shadow, self.stage = graph, shadow, stage
        self.start = shadow.step
        self.stores = {store.tensor: store for store in stage.stores}
        self.workers = self._workers(nodes, isa)
        self.position = {worker.output.name: i for i, worker in enumerate(self.workers)}
        self._check_stores()
        both = (self.position[s.tensor] for s in stage.stores if s.ring and s.fresh)
        place = self.position
        guests = {place[s.tensor]: place[s.host] for s in stage.stores if s.host}
        self.stream = Stream(self.workers, frozenset(both), guests)

    def run(self) -> None:
        """Execute the stream to its end.

        Raises:
            FitError: E303.
        """
        for event in self.stream.events():
            worker = self.workers[event.position]
            shift = len(self.workers) - len(self.stage.nodes)
            self.shadow.step = self.start + max(0, event.position - shift)
            if isinstance(event, Make):
                self._make(worker, event.row)
            else:
                self._keep(worker, event.row)
        for worker, made in zip(self.workers, self.stream.made, strict=True):
            if made != worker.rows:
                raise wrong(f"the stream stops at row {made} of {worker.rows}", worker.output.name)
        self.shadow.step = self.start + len(self.stage.nodes)

    def _workers(self, nodes: Sequence[Node], isa: Isa) -> list[Worker]:
        if len(self.stage.kernels) != len(nodes):
            raise wrong("a stream needs one kernel per node", f'node "{nodes[0].name}"')
        workers: list[Worker] = []
        if self.stage.feed:
            workers.append(Feed(self.graph.tensors[self.stage.feed]))
        for node, kernel in zip(nodes, self.stage.kernels, strict=True):
            work = named_row_work(self.graph, node, kernel)
            if work is None:
                raise wrong(f'cannot run row by row with kernel "{kernel}"', f'node "{node.name}"')
            if work.isa > isa:
                raise wrong(f'kernel "{kernel}" does not run on it', f'node "{node.name}"')
            workers.append(work)
        return workers

    def _check_stores(self) -> None:
        for store in self.stage.stores:
            rows = store.ring + store.fresh
            legal = store.ring >= 0 and store.fresh in (0, 1) and (rows > 0) != bool(store.host)
            if not legal or store.tensor not in self.position:
                raise wrong("no rows of this are made here, or none are kept", f'"{store.tensor}"')
            worker = self.workers[self.position[store.tensor]]
            if isinstance(worker, RowWork) and worker.folds:
                raise wrong("a fold makes its output whole", f'"{store.tensor}"')
            if store.host:
                self._check_guest(store, worker)
        for position, worker in enumerate(self.workers):
            for need in worker.needs:
                if self.position.get(need.tensor, -1) >= position:
                    raise wrong(f'reads "{need.tensor}" before it is made', worker.output.name)

    def _check_guest(self, store: RowStore, worker: Worker) -> None:
        host = self.stores.get(store.host)
        reads = [need.tensor for need in worker.needs]
        if host is None or not host.ring or reads != [store.host]:
            raise wrong(f'cannot lie on the ring of "{store.host}"', f'"{store.tensor}"')
        if row_bytes(worker.output) > row_bytes(self.graph.tensors[store.host]):
            raise wrong(f'is longer than a row of "{store.host}"', f'"{store.tensor}"')

    def _make(self, worker: Worker, row: int) -> None:
        if isinstance(worker, RowWork) and worker.folds:
            self._fold(worker, row)
            return
        result = self._row(worker.output, row)
        if isinstance(worker, Feed):
            self.shadow.write(result)
            return
        reader = f'row {row} of node "{worker.node.name}"'
        scratch = self.shadow.scratch(worker.node.name, worker.special.scratch_bytes)
        self.shadow.perform(self._moments(worker, row, result), scratch, reader)
        self.shadow.read(result, reader)

    def _fold(self, work: RowWork, row: int) -> None:
        """Add a row to the sums in scratch memory; the last call makes the whole output."""
        reader = f'row {row} of node "{work.node.name}"'
        x = self._row(work.operands.input(0), row)
        sums = self.shadow.scratch(work.node.name, work.special.scratch_bytes)
        before = (x, *sums) if row else (x,)
        result = (self.shadow.span(work.output),) if row + 1 == work.rows else ()
        self.shadow.perform([Moment(before, (*sums, *result), (x,))], (), reader)

    def _moments(self, work: RowWork, row: int, result: Span) -> Iterator[Moment]:
        tensors = self.graph.tensors
        if work.special.taps is not None:
            reads = tuple(
                self._row(tensors[need.tensor], source)
                for need in work.needs
                for source in range(need.low[row], need.high[row])
            )
            over = work.special.over_row
            keeps = tuple(read for read in reads if not over or read.low != result.low)
            yield Moment(reads, (result,), keeps)
            return
        sources = tuple(self._row(tensors[n.tensor], n.low[row]) for n in work.needs)
        windows = work.node.op.windows(work.row_operands)
        in_order = work.special.in_order
        yield from moments(work.row_operands, windows, sources, (result,), in_order=in_order)

    def _keep(self, worker: Worker, row: int) -> None:
        tensor = worker.output
        fresh = self._row(tensor, row)
        ring = self._ring(tensor, self.stores[tensor.name], row)
        self.shadow.perform([Moment((fresh,), (ring,), ())], (), f'"{fresh.value}"')

    def _row(self, tensor: Tensor, row: int) -> Span:
        """Return where a row lies now."""
        store = self.stores.get(tensor.name)
        if store is None:
            return self.shadow.span(tensor).part(row, row + 1, row_count(tensor))
        if store.host:
            return self._guest(tensor, store, row)
        kept = self.stream.kept[self.position[tensor.name]]
        if store.ring and (not store.fresh or row < kept):
            return self._ring(tensor, store, row)
        slot = self.shadow.slot(f"{tensor.name}.fresh", row_bytes(tensor), tensor.dtype.itemsize)
        return Span(f"{tensor.name}[{row}]", slot.offset, slot.offset + row_bytes(tensor))

    def _guest(self, tensor: Tensor, store: RowStore, row: int) -> Span:
        """Return the place of the first row of the window that ``row`` is made from."""
        host, worker = self.graph.tensors[store.host], self.workers[self.position[tensor.name]]
        assert isinstance(worker, RowWork), "a feed is no guest"
        place = self._ring(host, self.stores[store.host], worker.first_row(row))
        return Span(f"{tensor.name}[{row}]", place.low, place.low + row_bytes(tensor))

    def _ring(self, tensor: Tensor, store: RowStore, row: int) -> Span:
        size = row_bytes(tensor)
        slot = self.shadow.slot(f"{tensor.name}.ring", size * store.ring, tensor.dtype.itemsize)
        low = slot.offset + row % store.ring * size
        return Span(f"{tensor.name}[{row}]", low, low + size)
