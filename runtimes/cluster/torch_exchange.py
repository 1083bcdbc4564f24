"""The same split over `torch.distributed`: Gloo, MPI or NCCL instead of ZeroMQ.

For clusters where torch is at home and their engine is to stay the same when they grow: shards,
engines and shares are those of every other cluster. All ranks run one program (``torchrun`` or
MPI start them); rank 0 has a head with the `forward` and `truncate` of
`runtimes.cluster.head.Head`, the others call `serve`. Partial sums are gathered and added in the
fixed order, so that logits equal those of the ZeroMQ mesh with f32 payloads bit for bit.

Torch is imported when a group is opened; devices that do not use this need none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from runtimes.cluster.array_codec import add_in_rank_order
from runtimes.cluster.arrays import F32, array_of, rows_of
from runtimes.cluster.buffers import Rows
from runtimes.cluster.engine import Engine
from runtimes.cluster.step import run_layers
from toolchain.cluster.split import Share
from toolchain.errors import ModelError, UsageError

_STOP, _FORWARD, _TRUNCATE = range(3)
_ORDER_VALUES = 6  # operation, step, slot, position, rows, wanted


class TorchExchange:
    """`runtimes.cluster.exchange.Exchange` over a process group of one rank per process.

    Args:
        rank: own number.
        ranks: how many.
        store: init method of `torch.distributed`: ``tcp://host:port``, ``file:///path``,
            ``env://``.
        backend: ``gloo``, ``mpi`` or ``nccl``.
        timeout_s: after which a silent peer is an error.

    Raises:
        ModelError: E203, torch is not installed.
    """

    def __init__(
        self, rank: int, ranks: int, store: str, *, backend: str = "gloo", timeout_s: float = 60.0
    ) -> None:
        self.rank = rank
        self.ranks = ranks
        self._torch, self._dist = _import()
        self._dist.init_process_group(
            backend,
            init_method=store,
            rank=rank,
            world_size=ranks,
            timeout=timedelta(seconds=timeout_s),
        )

    def all_reduce(self, step: int, block: int, partials: Mapping[int, Rows]) -> Rows:
        """See `Exchange.all_reduce`; the group keeps steps in order by itself."""
        del step, block
        own = array_of(partials[self.rank])
        parts = np.empty((self.ranks, own.size), own.dtype)
        rows = [self._torch.from_numpy(row) for row in parts]
        self._dist.all_gather(rows, self._torch.from_numpy(own.reshape(-1)))
        return rows_of(add_in_rank_order(parts).reshape(own.shape))

    def broadcast(self, values: npt.NDArray[Any]) -> None:
        """Overwrite ``values`` on all ranks with those of rank 0."""
        self._dist.broadcast(self._torch.from_numpy(values), src=0)

    def send_to_head(self, values: F32) -> None:
        """Send an array to rank 0."""
        self._dist.send(self._torch.from_numpy(np.ascontiguousarray(values)), dst=0)

    def receive_from(self, rank: int, out: F32) -> None:
        """Fill a C-contiguous array with what ``rank`` sends."""
        self._dist.recv(self._torch.from_numpy(out), src=rank)

    def close(self) -> None:
        """Leave the group."""
        self._dist.destroy_process_group()


class TorchHead:
    """Rank 0: the `forward` and `truncate` of a head.

    Args:
        engine: of rank 0.
        shares: of all ranks.
        group: opened with rank 0.
        rows: most positions per pass.
    """

    def __init__(
        self, engine: Engine, shares: Sequence[Share], group: TorchExchange, rows: int = 64
    ) -> None:
        self.config = engine.config
        self._engine = engine
        self._shares = tuple(shares)
        self._group = group
        self._rows = rows
        self._step = 0

    def forward(
        self,
        slot: int,
        tokens: Sequence[int],
        position: int,
        *,
        rows: int | None = None,
    ) -> Rows:
        """Run tokens through the model; see `runtimes.cluster.head.Head.forward`."""
        ids = list(tokens)
        wanted = len(ids) if rows is None else min(rows, len(ids))
        if position < 0 or position + len(ids) > self._engine.capacity:
            raise UsageError("E113", f"positions up to {position + len(ids)} are outside the cache")
        out = np.empty((wanted, self.config.vocab), np.float32)
        first = len(ids) - wanted
        for start in range(0, len(ids), self._rows):
            chunk = ids[start : start + self._rows]
            last = max(0, min(len(chunk), start + len(chunk) - first))
            target = out[start + len(chunk) - last - first :][:last]
            self._pass(slot, chunk, position + start, target)
        return rows_of(out)

    def truncate(self, slot: int, length: int) -> None:
        """Forget positions ``length`` and later of a slot, on all ranks."""
        self._order(_TRUNCATE, slot, length)
        self._engine.truncate(slot, length)

    def close(self) -> None:
        """End the other ranks' `serve` and leave the group."""
        self._order(_STOP)
        self._engine.close()
        self._group.close()

    def _order(self, operation: int, *values: int) -> None:
        order = np.zeros(_ORDER_VALUES, np.int64)
        order[: 2 + len(values)] = (operation, self._step, *values)
        self._group.broadcast(order)

    def _pass(self, slot: int, ids: Sequence[int], position: int, out: F32) -> None:
        self._step += 1
        hidden = self._engine.embed(ids)
        self._order(_FORWARD, slot, position, len(ids), len(out))
        self._group.broadcast(array_of(hidden))
        hidden = run_layers(
            {0: self._engine},
            self._group,
            hidden,
            step=self._step,
            slot=slot,
            position=position,
        )
        if not len(out):
            return
        out[:, self._shares[0].vocab.slice()] = array_of(self._engine.logits(hidden.last(len(out))))
        for share in self._shares[1:]:
            if len(share.vocab):
                rows = np.empty((len(out), len(share.vocab)), np.float32)
                self._group.receive_from(share.rank, rows)
                out[:, share.vocab.slice()] = rows


def serve(engine: Engine, group: TorchExchange) -> None:
    """Compute a rank other than 0 until its head closes."""
    order = np.zeros(_ORDER_VALUES, np.int64)
    while True:
        group.broadcast(order)
        operation, step, slot, position, rows, wanted = map(int, order)
        if operation == _STOP:
            break
        if operation == _TRUNCATE:
            engine.truncate(slot, position)
            continue
        hidden = Rows.empty(rows, engine.config.hidden)
        group.broadcast(array_of(hidden))
        engines = {group.rank: engine}
        hidden = run_layers(engines, group, hidden, step=step, slot=slot, position=position)
        if wanted and len(engine.share.vocab):
            group.send_to_head(array_of(engine.logits(hidden.last(wanted))))
    engine.close()
    group.close()


def _import() -> tuple[Any, Any]:
    try:
        import torch
        import torch.distributed
    except ImportError:
        raise ModelError(
            "E203",
            "torch is not installed; the ZeroMQ backend needs none",
            hints=['pip install "tessera[torch]"'],
        ) from None
    return torch, torch.distributed
